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

for program in java javac mvn; do
    command -v $program >/dev/null 2>&1 || { echo "there is no $program here, which mongo-java-server needs" >&2; exit 3; }
done
mkdir -p "$folder" "$(dirname "$cache")"
if [ ! -d "$cache" ]; then
    # Made beside and moved in whole: several may come here at once.
    fresh=$(mktemp -d "$cache.XXXXXX")
    cat >"$fresh/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>beam-datahub</groupId><artifactId>mongodb</artifactId><version>1</version>
<dependencies>
<dependency><groupId>de.bwaldvogel</groupId><artifactId>mongo-java-server</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>2.0.16</version></dependency>
</dependencies></project>
POM
    if ! mvn -q -B -f "$fresh/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$fresh/lib" >"$folder/maven.log" 2>&1 ||
        ! javac -cp "$fresh/lib/*" -d "$fresh/lib" "$main" >>"$folder/maven.log" 2>&1; then
        rm -rf "$fresh"
        echo "mongo-java-server cannot be had: $(grep -m 1 -i ERROR "$folder/maven.log" || tail -n 1 "$folder/maven.log")" >&2
        exit 3
    fi
    mv -T "$fresh" "$cache" 2>/dev/null || rm -rf "$fresh"
fi

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
