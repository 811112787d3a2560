#!/usr/bin/env bash
# Starts a PostgreSQL server on 127.0.0.1 for tests and prints its URL; `postgresql.sh stop FOLDER` stops it again.
# `postgresql.sh start FOLDER` keeps everything in FOLDER; `postgresql.sh again FOLDER PORT` starts one that was stopped. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}

# Debian keeps the server's programs outside of PATH.
for bin in "$(command -v pg_ctl 2>/dev/null | xargs -r dirname)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin; do
    if [ -n "$bin" ] && [ -x "$bin/pg_ctl" ] && [ -x "$bin/initdb" ]; then
        found=$bin
    fi
done
if [ -z "${found:-}" ] && bash "$(dirname -- "$0")/apt.sh" postgresql; then
    for bin in /usr/lib/postgresql/*/bin; do
        [ -x "$bin/pg_ctl" ] && found=$bin
    done
fi
if [ -z "${found:-}" ]; then
    echo "there is no PostgreSQL server here (initdb, pg_ctl); on Debian: apt-get install postgresql" >&2
    exit 3
fi

# The server refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    id postgres >/dev/null 2>&1 || { echo "PostgreSQL refuses root, and there is no user postgres" >&2; exit 3; }
fi
data=$folder/data

if [ "$action" = stop ]; then
    cd /
    "${as[@]}" "$found/pg_ctl" -D "$data" -m immediate -w stop >/dev/null
    exit 0
fi
if [ "$action" = again ]; then
    cd /
    "${as[@]}" "$found/pg_ctl" -D "$data" -o "-p ${3:?its port}" -l "$data/server.log" -w -t 30 start >/dev/null 2>&1
    exit $?
fi

mkdir -p "$folder"
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    chmod 755 "$folder"
    # The folders above it belong to who runs the tests.
    above=$(dirname -- "$(readlink -f -- "$folder")")
    while [ "$above" != / ]; do
        chmod o+x "$above"
        above=$(dirname -- "$above")
    done
fi
cd /
"${as[@]}" "$found/initdb" -D "$data" -A trust -U postgres -N -E UTF8 --no-locale >"$folder/initdb.log" 2>&1 ||
    { tail -n 1 "$folder/initdb.log" >&2; exit 3; }
cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
wal_level = logical
max_connections = 100
CONF
# Below the ephemeral ports, and another one where somebody has taken it.
for _ in 1 2 3 4 5 6 7 8; do
    port=$((20000 + RANDOM % 10000))
    if "${as[@]}" "$found/pg_ctl" -D "$data" -o "-p $port" -l "$data/server.log" -w -t 30 start >/dev/null 2>&1; then
        echo "postgresql://postgres@127.0.0.1:$port/postgres"
        exit 0
    fi
done
tail -n 3 "$data/server.log" >&2
exit 3
