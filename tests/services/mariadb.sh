#!/usr/bin/env bash
# Starts a MariaDB server on 127.0.0.1 for tests and prints its URL; `mariadb.sh stop FOLDER` stops it again, as a crash would.
# `mariadb.sh start FOLDER` keeps everything in FOLDER; `mariadb.sh again FOLDER PORT` starts one that was stopped. MARIADB_OPTIONS are the server's. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}
data=$folder/data

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f "$folder/pid"
    exit 0
fi

# Debian keeps the server outside of a user's PATH.
PATH=$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/opt/mariadb/bin
command -v mariadbd >/dev/null 2>&1 || bash "$(dirname -- "$0")/apt.sh" mariadb-server || true
for program in mariadbd mariadb-install-db; do
    command -v $program >/dev/null 2>&1 || {
        echo "there is no MariaDB server here ($program); on Debian: apt-get install mariadb-server" >&2
        exit 3
    }
done

# The server refuses to run as root, and is given a user.
as=()
if [ "$(id -u)" = 0 ]; then
    id mysql >/dev/null 2>&1 || { echo "MariaDB refuses root, and there is no user mysql" >&2; exit 3; }
    as=(--user=mysql)
fi
mkdir -p "$data"
if [ "$(id -u)" = 0 ]; then
    chown mysql "$folder" "$data"
    chmod 755 "$folder"
    # The folders above it belong to who runs the tests.
    above=$(dirname -- "$(readlink -f -- "$folder")")
    while [ "$above" != / ]; do
        chmod o+x "$above"
        above=$(dirname -- "$above")
    done
fi
cd /
if [ "$action" = start ]; then
    mariadb-install-db --no-defaults "${as[@]}" --datadir="$data" --auth-root-authentication-method=normal --skip-test-db \
        >"$folder/install.log" 2>&1 || { tail -n 1 "$folder/install.log" >&2; exit 3; }
fi

# Starts the server at a port; whether it answers there. Its temporary tables stand in a folder of its own: another one that
# starts removes what it takes for the left-overs of a crash.
started() {
    nohup mariadbd --no-defaults "${as[@]}" --datadir="$data" --tmpdir="$folder" --socket="$folder/socket" --bind-address=127.0.0.1 --port="$1" \
        --pid-file="$folder/server.pid" --server-id=1 --log-bin=binlog --binlog-format=ROW --binlog-row-image=FULL \
        --binlog-row-metadata=FULL --local-infile=1 --skip-name-resolve --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=2 \
        ${MARIADB_OPTIONS:-} \
        >"$folder/server.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 600); do
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || return 1
        grep -q 'ready for connections' "$folder/server.log" && return 0
        sleep 0.1
    done
    return 1
}

if [ "$action" = again ]; then
    started "${3:?its port}"
    exit $?
fi
# Below the ephemeral ports, and another one where somebody has taken it.
for _ in 1 2 3 4 5 6 7 8; do
    port=$((20000 + RANDOM % 10000))
    if started "$port"; then
        echo "mysql://root@127.0.0.1:$port"
        exit 0
    fi
    kill "$(cat "$folder/pid")" 2>/dev/null || true
done
tail -n 3 "$folder/server.log" >&2
exit 3
