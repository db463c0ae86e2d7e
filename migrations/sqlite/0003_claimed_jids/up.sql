-- A JID belongs to whoever signs over its connection: what counts is when a system claimed it, not when its name and key
-- were given last.
ALTER TABLE osa_push RENAME COLUMN registered_at TO claimed_at;
