#!/usr/bin/env bash
# Starts Kafka Connect with Debezium's connector for PostgreSQL on 127.0.0.1 for tests and prints the URL of its REST interface.
# `connect.sh start FOLDER BROKER` works with the broker at that address; `connect.sh stop FOLDER` kills it. The jars come through
# Maven, once, to ~/.cache/beam-datahub. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}
kafka=3.9.1
debezium=2.7.4.Final
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/beam-datahub/connect-$kafka-debezium-$debezium

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f "$folder/pid"
    exit 0
fi

broker=${3:?the address of a broker}
for program in java mvn; do
    command -v $program >/dev/null 2>&1 || { echo "there is no $program here, which Kafka Connect needs" >&2; exit 3; }
done
mkdir -p "$folder" "$(dirname "$cache")"
if [ ! -d "$cache" ]; then
    # Made beside and moved in whole: several may come here at once.
    fresh=$(mktemp -d "$cache.XXXXXX")
    cat >"$fresh/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>beam-datahub</groupId><artifactId>connect</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId><version>$kafka</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId><version>$kafka</version></dependency>
<dependency><groupId>io.debezium</groupId><artifactId>debezium-connector-postgres</artifactId><version>$debezium</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
    if ! mvn -q -B -f "$fresh/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$fresh/lib" >"$folder/maven.log" 2>&1; then
        rm -rf "$fresh"
        echo "Maven cannot get Debezium: $(grep -m 1 ERROR "$folder/maven.log" || tail -n 1 "$folder/maven.log")" >&2
        exit 3
    fi
    mv -T "$fresh" "$cache" 2>/dev/null || rm -rf "$fresh"
fi

# Without the compilers' later stages a server of a few seconds is up sooner.
options=(-Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)
# Below the ephemeral ports, and others where somebody has taken them.
for _ in 1 2 3 4; do
    port=$((29100 + RANDOM % 900))
    cat >"$folder/worker.properties" <<CONF
bootstrap.servers=$broker
listeners=http://127.0.0.1:$port
rest.advertised.host.name=127.0.0.1
offset.storage.file.filename=$folder/offsets
offset.flush.interval.ms=1000
key.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
plugin.discovery=service_load
CONF
    setsid nohup java "${options[@]}" -cp "$cache/lib/*" org.apache.kafka.connect.cli.ConnectStandalone "$folder/worker.properties" \
        >"$folder/server.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 1 1200); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "http://127.0.0.1:$port"
            exit 0
        fi
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$(cat "$folder/pid")" 2>/dev/null || true
done
tail -n 3 "$folder/server.log" >&2
exit 3
