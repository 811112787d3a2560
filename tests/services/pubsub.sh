#!/usr/bin/env bash
# Starts an emulator of Google Pub/Sub on 127.0.0.1 for tests and prints its address: Google's own where its SDK has it, else the one
# that Google's Go library brings along, built once to ~/.cache/beam-datahub. It keeps nothing. `pubsub.sh stop FOLDER` kills it.
# Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}
version=1.49.0
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/beam-datahub/pubsub-$version

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$folder/pid"
    exit 0
fi

mkdir -p "$folder" "$(dirname "$cache")"
jar=$(ls /usr/lib/google-cloud-sdk/platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar 2>/dev/null | head -n 1 || true)
if { [ -z "$jar" ] || ! command -v java >/dev/null 2>&1; } && [ ! -x "$cache/pubsub" ]; then
    command -v go >/dev/null 2>&1 || { echo "there is neither Google's emulator of Pub/Sub here nor go, which builds one" >&2; exit 3; }
    jar=""
    # Made beside and moved in whole: several may come here at once.
    fresh=$(mktemp -d "$cache.XXXXXX")
    cat >"$fresh/main.go" <<'GO'
package main

import (
	"fmt"
	"os"

	"cloud.google.com/go/pubsub/pstest"
)

func main() {
	server := pstest.NewServerWithAddress(os.Args[1])
	fmt.Println("Server started", server.Addr)
	select {}
}
GO
    if ! (cd "$fresh" && go mod init pubsub && go get "cloud.google.com/go/pubsub@v$version" && go mod tidy && go build -o pubsub .) \
        >"$folder/go.log" 2>&1; then
        rm -rf "$fresh"
        echo "go cannot build the emulator: $(tail -n 1 "$folder/go.log")" >&2
        exit 3
    fi
    mv -T "$fresh" "$cache" 2>/dev/null || rm -rf "$fresh"
fi

# Below the ephemeral ports, and others where somebody has taken them.
for _ in 1 2 3 4; do
    port=$((31500 + RANDOM % 1200))
    : >"$folder/server.log"
    if [ -n "$jar" ] && command -v java >/dev/null 2>&1; then
        setsid nohup java -Xmx256m -XX:TieredStopAtLevel=1 -jar "$jar" --host=127.0.0.1 --port=$port >"$folder/server.log" 2>&1 </dev/null &
    else
        setsid nohup "$cache/pubsub" "127.0.0.1:$port" >"$folder/server.log" 2>&1 </dev/null &
    fi
    echo $! >"$folder/pid"
    for _ in $(seq 1 300); do
        # The port alone may be somebody else's.
        if grep -q 'Server started' "$folder/server.log"; then
            echo "127.0.0.1:$port"
            exit 0
        fi
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$(cat "$folder/pid")" 2>/dev/null || true
done
tail -n 3 "$folder/server.log" >&2
exit 3
