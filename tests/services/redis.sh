#!/usr/bin/env bash
# Starts a Redis server on 127.0.0.1 for tests and prints its address; without a login one may do everything, and there is a user
# `etl` (`right`). `redis.sh stop FOLDER` kills it. `redis.sh start FOLDER` keeps everything in FOLDER; one that has been stopped
# starts again at its address, with what it had. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$folder/pid"
    exit 0
fi

command -v redis-server >/dev/null 2>&1 || bash "$(dirname -- "$0")/apt.sh" redis-server
mkdir -p "$folder"
# Below the ephemeral ports, and others where somebody has taken them.
for _ in 1 2 3 4; do
    port=$(cat "$folder/port" 2>/dev/null || echo $((23000 + RANDOM % 2000)))
    setsid nohup redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' --appendonly yes --appendfsync always \
        --user default on nopass '~*' '&*' +@all --user etl on '>right' '~*' '&*' +@all >"$folder/server.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 1 300); do
        if redis-cli -p "$port" ping 2>/dev/null | grep -q PONG; then
            # Somebody else's answers as well.
            kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
            echo "$port" >"$folder/port"
            echo "127.0.0.1:$port"
            exit 0
        fi
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
        sleep 0.1
    done
done
tail -n 3 "$folder/server.log" >&2
exit 3
