DROP TABLE rhnPushClient;
DROP TABLE rhnPushClientState;
DROP TABLE rhnServerAction;
DROP TABLE rhnAction;
DROP TABLE rhnActionStatus;
DROP TABLE rhnActionType;
DROP TABLE rhnServerInfo;
DROP TABLE rhnServer;
