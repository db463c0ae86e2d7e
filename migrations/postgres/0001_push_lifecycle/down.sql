DROP TABLE osa_run;
DROP TABLE osa_request_action;
DROP TABLE osa_request;
DROP TABLE osa_push;
DROP TABLE osa_account;
DROP TABLE osa_node;
