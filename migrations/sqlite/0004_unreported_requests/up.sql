-- The same condition without a list of three: SQLite builds such a list anew, as a table, at each write of a request.
DROP INDEX osa_request_unreported_idx;
CREATE INDEX osa_request_unreported_idx ON osa_request (server_id, number)
    WHERE state <> 'finished' AND state <> 'received' AND state <> 'refused';
