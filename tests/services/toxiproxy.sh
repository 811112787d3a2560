#!/usr/bin/env bash
# Starts toxiproxy, which stands between a client and its server and spoils the network, on 127.0.0.1 and prints the address of its
# API; `toxiproxy.sh stop FOLDER` kills it. It is built once, to ~/.cache/beam-datahub. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its log}
version=2.5.0
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/beam-datahub/toxiproxy-$version

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$folder/pid"
    exit 0
fi

mkdir -p "$folder" "$(dirname "$cache")"
if [ ! -x "$cache/server" ]; then
    command -v go >/dev/null 2>&1 || { echo "there is no go here, which builds toxiproxy" >&2; exit 3; }
    # Made beside and moved in whole: several may come here at once.
    fresh=$(mktemp -d "$cache.XXXXXX")
    if ! GOBIN="$fresh" go install "github.com/Shopify/toxiproxy/v2/cmd/server@v$version" >"$folder/go.log" 2>&1; then
        rm -rf "$fresh"
        echo "go cannot build toxiproxy: $(tail -n 1 "$folder/go.log")" >&2
        exit 3
    fi
    mv -T "$fresh" "$cache" 2>/dev/null || rm -rf "$fresh"
fi

# Below the ephemeral ports, and another one where somebody has taken it.
for _ in 1 2 3 4; do
    port=$((27000 + RANDOM % 2000))
    setsid nohup "$cache/server" -host 127.0.0.1 -port "$port" >"$folder/server.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 1 300); do
        if kill -0 "$(cat "$folder/pid")" 2>/dev/null && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "127.0.0.1:$port"
            exit 0
        fi
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
        sleep 0.1
    done
done
tail -n 3 "$folder/server.log" >&2
exit 3
