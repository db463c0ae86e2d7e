-- The store of jabberd2: the names and types that its modules ask for.
PRAGMA journal_mode = WAL;
CREATE TABLE authreg (username TEXT NOT NULL, realm TEXT NOT NULL, password TEXT);
CREATE INDEX authreg_username ON authreg (username);
CREATE TABLE active ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, time INTEGER NOT NULL DEFAULT 0);
CREATE INDEX active_owner ON active ("collection-owner");
CREATE TABLE logout ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, time INTEGER NOT NULL DEFAULT 0);
CREATE TABLE "roster-items" (
    "collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, jid TEXT NOT NULL, name TEXT,
    "to" BOOLEAN NOT NULL, "from" BOOLEAN NOT NULL, ask INTEGER NOT NULL);
CREATE INDEX roster_items_owner ON "roster-items" ("collection-owner");
CREATE TABLE "roster-groups" (
    "collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, jid TEXT NOT NULL, "group" TEXT NOT NULL);
CREATE INDEX roster_groups_owner ON "roster-groups" ("collection-owner", jid);
CREATE TABLE "published-roster" (
    "collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, jid TEXT NOT NULL, "group" TEXT, name TEXT,
    "to" BOOLEAN NOT NULL, "from" BOOLEAN NOT NULL, ask INTEGER NOT NULL);
CREATE TABLE "published-roster-groups" (
    "collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, groupname TEXT NOT NULL);
CREATE TABLE vcard ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY);
CREATE TABLE queue ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, xml TEXT NOT NULL);
CREATE INDEX queue_owner ON queue ("collection-owner");
CREATE TABLE private ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, ns TEXT, xml TEXT);
CREATE TABLE "motd-message" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, xml TEXT NOT NULL);
CREATE TABLE "motd-times" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, time INTEGER NOT NULL);
CREATE TABLE "privacy-default" ("collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, "default" TEXT);
CREATE TABLE "privacy-items" (
    "collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, list TEXT NOT NULL, type TEXT, value TEXT,
    deny BOOL, "order" INTEGER, block INTEGER);
CREATE TABLE "vacation-settings" (
    "collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, start INTEGER, "end" INTEGER, message TEXT);
CREATE TABLE status (
    "collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, status TEXT NOT NULL, show TEXT,
    "last-login" INTEGER DEFAULT 0, "last-logout" INTEGER DEFAULT 0, xml TEXT);
CREATE TABLE verify (
    "collection-owner" TEXT NOT NULL, "object-sequence" INTEGER PRIMARY KEY, email TEXT NOT NULL, code TEXT,
    state INTEGER DEFAULT 0);
