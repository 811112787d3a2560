#!/usr/bin/env bash
# Starts a Kafka broker on 127.0.0.1 for tests and prints its address, where it asks for nothing; two ports higher it asks for a
# login by SASL/PLAIN (`etl`, `right`). `kafka.sh stop FOLDER` kills it. `kafka.sh start FOLDER` keeps everything in FOLDER; one
# that has been stopped starts again at its address, with what it had. The jars come through Maven, once, to
# ~/.cache/beam-datahub. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}
version=3.9.1
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/beam-datahub/kafka-$version

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f "$folder/pid"
    exit 0
fi

mkdir -p "$folder"
bash "$(dirname -- "$0")/maven.sh" "$cache" "Kafka" "org.apache.kafka:kafka_2.13:$version" org.slf4j:slf4j-simple:1.7.36

# Without the compilers' later stages a broker of a few seconds is up sooner.
options=(-Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)
start() {
    rm -f "$folder/server.log"
    setsid nohup java "${options[@]}" -cp "$cache/lib/*" kafka.Kafka "$folder/server.properties" >"$folder/server.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 1 300); do
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
    port=$((20000 + RANDOM % 3000 * 3))
    rm -rf "$folder/data"
    cat >"$folder/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1)),SASL://127.0.0.1:$((port + 2))
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$((port + 2))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_etl="right";
controller.listener.names=CONTROLLER
log.dirs=$folder/data
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
log.retention.ms=-1
CONF
    java "${options[@]}" -cp "$cache/lib/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c "$folder/server.properties" \
        >"$folder/format.log" 2>&1 || { tail -n 1 "$folder/format.log" >&2; exit 3; }
    echo "$port" >"$folder/port"
    start || continue
done
tail -n 3 "$folder/server.log" >&2
exit 3
