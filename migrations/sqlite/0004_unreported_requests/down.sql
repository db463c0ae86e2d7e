DROP INDEX osa_request_unreported_idx;
CREATE INDEX osa_request_unreported_idx ON osa_request (server_id, number)
    WHERE state NOT IN ('finished', 'received', 'refused');
