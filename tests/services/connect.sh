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
mkdir -p "$folder"
bash "$(dirname -- "$0")/maven.sh" "$cache" "Kafka Connect with Debezium" "org.apache.kafka:connect-runtime:$kafka" "org.apache.kafka:connect-json:$kafka" \
    "io.debezium:debezium-connector-postgres:$debezium" org.slf4j:slf4j-simple:1.7.36

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
