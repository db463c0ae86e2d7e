#!/bin/sh
# Keeps one PostgreSQL server for all test processes of a run: started by the first, stopped and removed when none has
# used it for ten seconds. Arguments: directory, PostgreSQL's programs, user to run as (empty: this one).
# Tests hold a shared lock on DIR/use; DIR/start is held by whoever decides whether the server is there.
set -eu
dir=$1 bin=$2 user=$3
as() { if [ -n "$user" ]; then setpriv --reuid "$user" --regid "$user" --init-groups "$@"; else "$@"; fi; }

if [ -s "$dir/pid" ]; then kill -9 "$(cat "$dir/pid")" 2>/dev/null || true; fi
rm -rf "$dir/data" "$dir/blank" "$dir/socket"
mkdir "$dir/socket"
if [ -n "$user" ]; then chown "$user" "$dir" "$dir/socket"; fi
as "$bin/initdb" -D "$dir/data" -U osa_owner -A trust -N --locale=C --encoding=UTF8 >"$dir/log" 2>&1
as cp -a "$dir/data" "$dir/blank"
# In a subshell that becomes the server, so that its id is the server's.
( if [ -n "$user" ]; then set -- setpriv --reuid "$user" --regid "$user" --init-groups; else set -- env; fi
  exec "$@" "$bin/postgres" -D "$dir/data" -k "$dir/socket" -h '' -c fsync=off -c max_connections=200 -c shared_buffers=32MB \
    -c log_min_messages=error >>"$dir/log" 2>&1 ) &
echo $! >"$dir/pid"
until "$bin/pg_isready" -q -U osa_owner -d postgres -h "$dir/socket"; do
    kill -0 "$(cat "$dir/pid")"
    sleep 0.05
done
sql() { "$bin/psql" -qX -v ON_ERROR_STOP=1 -h "$dir/socket" -U osa_owner "$@" >>"$dir/log" 2>&1; }
sql -d postgres -c 'CREATE DATABASE satellite'
sql -d satellite -f "$(dirname "$0")/satellite.sql"
echo ready >"$dir/ready"

idle=0
while [ $idle -lt 2 ]; do
    sleep 5
    if flock -n "$dir/use" true && flock -n "$dir/start" true; then idle=$((idle + 1)); else idle=0; fi
done
# Nobody may come to rely on it while it goes.
exec 9>"$dir/start"
flock 9
if ! flock -n "$dir/use" true; then exec "$0" "$@"; fi
rm -f "$dir/ready"
kill -QUIT "$(cat "$dir/pid")"
wait || true
rm -rf "$dir/data" "$dir/blank" "$dir/socket" "$dir/pid" "$dir/log"
