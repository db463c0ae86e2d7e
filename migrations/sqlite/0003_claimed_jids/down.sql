ALTER TABLE osa_push RENAME COLUMN claimed_at TO registered_at;
