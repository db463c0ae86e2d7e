DROP TRIGGER IF EXISTS osa_action_assigned ON rhnServerAction;
DROP TRIGGER IF EXISTS osa_action_moved ON rhnServerAction;
DROP TRIGGER IF EXISTS osa_action_postponed ON rhnAction;
DROP TRIGGER IF EXISTS osa_client_changed ON rhnPushClient;
DROP FUNCTION IF EXISTS osa_action_assigned();
DROP FUNCTION IF EXISTS osa_action_moved();
DROP FUNCTION IF EXISTS osa_action_postponed();
DROP FUNCTION IF EXISTS osa_client_changed();
-- Of the first version, whose triggers had one function and told nothing but that something had changed.
DROP FUNCTION IF EXISTS osa_notify();
