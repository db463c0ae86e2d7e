DROP TRIGGER IF EXISTS osa_action_assigned ON rhnServerAction;
DROP TRIGGER IF EXISTS osa_action_moved ON rhnServerAction;
DROP TRIGGER IF EXISTS osa_action_postponed ON rhnAction;
DROP TRIGGER IF EXISTS osa_client_changed ON rhnPushClient;
DROP FUNCTION IF EXISTS osa_notify();
