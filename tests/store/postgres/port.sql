-- Schemas before 2.7: the port on which an old dispatcher was woken. It has no default.
ALTER TABLE rhnPushDispatcher ADD COLUMN port NUMERIC NOT NULL;
