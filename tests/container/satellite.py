"""The part of a Satellite that clients call, as the compatibility contract has it (sections 2.2 to 2.6): it knows its database, and
of the dispatcher only what stands there. Port 443 enrols; port 8000 is what `rhn_check` asks: one line with a system's name,
and all that is due of it is fetched and reported done. With `add NAME` as arguments it prints the systemid of a new system."""

import hashlib
import secrets
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import xmlrpc.client
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def sql(text, **values):
    """Runs one statement with named values; its rows."""
    arguments = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    command = ["psql", "-qAt", "--set", "ON_ERROR_STOP=1", "--host", "127.0.0.1", "--user", "rhn", *arguments, "susemanager"]
    ended = subprocess.run(command, input=text, capture_output=True, text=True, env={"PGPASSWORD": "spacewalk", "PATH": "/usr/bin"})
    if ended.returncode:
        raise xmlrpc.client.Fault(-1, ended.stderr)
    return ended.stdout.split()


FIELDS = ["system_id", "os_release", "operating_system", "architecture", "username", "type"]


def checksum(secret, certificate):
    """Section 2.3."""
    parts = [secret, *(certificate[field] for field in FIELDS), *FIELDS]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def add(name):
    """A new system's certificate."""
    secret = secrets.token_hex(32)
    (number,) = sql(
        """INSERT INTO rhnServer (id, digital_server_id, secret, name)
           SELECT id, 'ID-' || id, :'secret', :'name' FROM (SELECT nextval('rhn_server_id_seq') AS id) next RETURNING id""",
        secret=secret, name=name,
    )
    certificate = dict.fromkeys(FIELDS, "6Server") | {"system_id": f"ID-{number}", "profile_name": name, "fields": FIELDS}
    return xmlrpc.client.dumps((certificate | {"checksum": checksum(secret, certificate)},))


def system(systemid):
    """The id of the system whose certificate this is."""
    (certificate,), _ = xmlrpc.client.loads(systemid)
    number = certificate["system_id"].removeprefix("ID-")
    secret = sql("SELECT secret FROM rhnServer WHERE id = :'id'", id=number)
    if [certificate["checksum"]] != [checksum(found, certificate) for found in secret]:
        raise xmlrpc.client.Fault(-9, "Invalid System Credentials")
    return number


def register_osad(systemid, arguments):
    """Section 2.5."""
    name, key = secrets.token_hex(8), secrets.token_hex(20)
    sql(
        """WITH state AS (SELECT id FROM rhnPushClientState WHERE label = 'offline'), updated AS (
             UPDATE rhnPushClient SET name = :'name', shared_key = :'key', state_id = (SELECT id FROM state),
               next_action_time = NULL, last_ping_time = NULL WHERE server_id = :id RETURNING id)
           INSERT INTO rhnPushClient (id, name, shared_key, server_id, state_id)
           SELECT nextval('rhn_pclient_id_seq'), :'name', :'key', :id, state.id FROM state WHERE NOT EXISTS (SELECT 1 FROM updated)""",
        name=name, key=key, id=system(systemid),
    )
    dispatchers = sql("SELECT jabber_id FROM rhnPushDispatcher")
    told = {"client-name": name, "shared-key": key, "server-timestamp": int(time.time())}
    return {**arguments, **told, "jabber-server": "satellite.test", "dispatchers": dispatchers}


def register_osad_jid(systemid, arguments):
    """Section 2.6."""
    sql(
        """UPDATE rhnPushClient SET jabber_id = NULL WHERE jabber_id = :'jid' AND server_id <> :id;
           UPDATE rhnPushClient SET jabber_id = :'jid', next_action_time = NULL, last_ping_time = NULL WHERE server_id = :id""",
        jid=arguments["jabber-id"], id=system(systemid),
    )
    return {}


METHODS = {
    "registration.welcome_message": lambda: "Welcome",
    "registration.register_osad": register_osad,
    "registration.register_osad_jid": register_osad_jid,
}


class Registration(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        parameters, method = xmlrpc.client.loads(self.rfile.read(int(self.headers["Content-Length"])))
        compressed = method == "registration.welcome_message"
        try:
            body = xmlrpc.client.dumps((METHODS[method](*parameters),), methodresponse=True).encode()
        except xmlrpc.client.Fault as fault:
            body, compressed = xmlrpc.client.dumps(fault).encode(), False
        if compressed:
            body = zlib.compress(body)
        self.send_response(200)
        self.send_header("X-RHN-Server-Capability", "registration.register_osad(1)=1")
        self.send_header("Content-Type", "application/binary" if compressed else "text/xml")
        if compressed:
            self.send_header("Content-Encoding", "x-zlib")
            self.send_header("Content-Transfer-Encoding", "binary")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Checks(socketserver.StreamRequestHandler):
    def handle(self):
        client = self.rfile.readline().decode().strip()
        sql(
            """UPDATE rhnServerAction sa SET status = 1, pickup_time = current_timestamp FROM rhnAction a, rhnServer s
                 WHERE a.id = sa.action_id AND s.id = sa.server_id AND s.name = :'name' AND sa.status = 0
                   AND a.earliest_action <= current_timestamp;
               UPDATE rhnServerAction sa SET status = 2, completion_time = current_timestamp FROM rhnServer s
                 WHERE s.id = sa.server_id AND s.name = :'name' AND sa.status = 1""",
            name=client,
        )
        self.wfile.write(b"done\n")


if sys.argv[1:2] == ["add"]:
    print(add(sys.argv[2]))
    sys.exit()
httpd = ThreadingHTTPServer(("", 443), Registration)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/server.crt", "/tls/server.key")
httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
threading.Thread(target=httpd.serve_forever, daemon=True).start()
socketserver.ThreadingTCPServer(("", 8000), Checks).serve_forever()
