#!/usr/bin/env bash
# Starts a NATS server with JetStream on 127.0.0.1 for tests and prints its address; without a login one may do everything, and
# there is a user `etl` (`right`). `nats.sh stop FOLDER` kills it. `nats.sh start FOLDER` keeps everything in FOLDER; one that has
# been stopped starts again at its address, with what it had. The server is built once, to ~/.cache/beam-datahub. Exit status 3: it
# cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}
version=2.15.2
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/beam-datahub/nats-$version

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$folder/pid"
    exit 0
fi

mkdir -p "$folder" "$(dirname "$cache")"
if [ ! -x "$cache/nats-server" ]; then
    command -v go >/dev/null 2>&1 || { echo "there is no go here, which builds the NATS server" >&2; exit 3; }
    # Made beside and moved in whole: several may come here at once.
    fresh=$(mktemp -d "$cache.XXXXXX")
    if ! GOBIN="$fresh" go install "github.com/nats-io/nats-server/v2@v$version" >"$folder/go.log" 2>&1; then
        rm -rf "$fresh"
        echo "go cannot build the NATS server: $(tail -n 1 "$folder/go.log")" >&2
        exit 3
    fi
    mv -T "$fresh" "$cache" 2>/dev/null || rm -rf "$fresh"
fi

# Below the ephemeral ports, and others where somebody has taken them.
for _ in 1 2 3 4; do
    port=$(cat "$folder/port" 2>/dev/null || echo $((25000 + RANDOM % 2000)))
    cat >"$folder/server.conf" <<CONF
listen: 127.0.0.1:$port
jetstream { store_dir: "$folder/data", sync_interval: always, max_mem: 256MB, max_file: 2GB }
authorization { users = [ {user: anybody, password: anybody}, {user: etl, password: right} ] }
no_auth_user: anybody
CONF
    setsid nohup "$cache/nats-server" -c "$folder/server.conf" >"$folder/server.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 1 300); do
        if grep -q 'Server is ready' "$folder/server.log" && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
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
