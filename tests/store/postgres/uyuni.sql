-- What Uyuni adds: systems have a contact method, and only those with `default` are pushed.
CREATE TABLE suseServerContactMethod (
    id    NUMERIC     NOT NULL PRIMARY KEY,
    label VARCHAR(32) NOT NULL UNIQUE
);
INSERT INTO suseServerContactMethod (id, label) VALUES (0, 'default'), (1, 'ssh-push'), (2, 'ssh-push-tunnel');
ALTER TABLE rhnServer ADD COLUMN contact_method_id NUMERIC NOT NULL DEFAULT 0 REFERENCES suseServerContactMethod (id);
