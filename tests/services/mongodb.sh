#!/usr/bin/env bash
# Starts a server that speaks MongoDB's protocol (mongo-java-server, in memory, with the change streams of MongoServer.java) on
# 127.0.0.1 for tests and prints its address.
# `mongodb.sh stop FOLDER` kills it; started again at the same address, it has forgotten everything. It knows no logins and no
# transactions. The jars come through Maven, once, to ~/.cache/beam-datahub. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}
version=1.47.0
main=$(dirname "$(readlink -f "$0")")/MongoServer.java
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/beam-datahub/mongo-java-server-$version-$(cksum <"$main" | cut -d" " -f1)

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f "$folder/pid"
    exit 0
fi

mkdir -p "$folder"
SOURCE=$main bash "$(dirname -- "$0")/maven.sh" "$cache" "mongo-java-server" "de.bwaldvogel:mongo-java-server:$version" org.slf4j:slf4j-nop:2.0.16

# Without the compilers' later stages a server of a few seconds is up sooner.
options=(-Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)
start() {
    setsid nohup java "${options[@]}" -cp "$cache/lib:$cache/lib/*" MongoServer "$port" >"$folder/server.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 1 600); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "127.0.0.1:$port"
            exit 0
        fi
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || return 1
        sleep 0.1
    done
    kill -9 "$(cat "$folder/pid")" 2>/dev/null || true
    return 1
}

if [ -f "$folder/port" ]; then
    port=$(cat "$folder/port")
    start || { tail -n 3 "$folder/server.log" >&2; exit 3; }
fi
# Below the ephemeral ports, and others where somebody has taken them.
for _ in 1 2 3 4; do
    port=$((20000 + RANDOM % 9000))
    echo "$port" >"$folder/port"
    start || continue
done
tail -n 3 "$folder/server.log" >&2
exit 3
