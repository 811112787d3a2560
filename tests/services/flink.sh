#!/usr/bin/env bash
# Starts a standalone Flink cluster of one task manager with two slots on 127.0.0.1 for tests, and prints the address of its REST
# interface. `flink.sh stop FOLDER` kills it, `flink.sh taskmanager FOLDER` starts another task manager where one was killed;
# the processes are in FOLDER/jobmanager.pid and FOLDER/taskmanager.pid. Flink's jars come from PyPI, once, to
# ~/.cache/beam-datahub. Exit status 3: it cannot be had here.
set -eu
action=${1:?start, stop or taskmanager}
folder=${2:?a folder for its logs and files}
version=1.19.3
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/beam-datahub/flink-libraries-$version
# The tests' own Python has what building a package needs.
python=${PYTHON:-$(dirname "$0")/../../.venv/bin/python}
[ -x "$python" ] || python=python3

if [ "$action" = stop ]; then
    for part in taskmanager jobmanager; do
        pid=$(cat "$folder/$part.pid" 2>/dev/null || true)
        [ -n "$pid" ] || continue
        kill -9 "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
        rm -f "$folder/$part.pid"
    done
    exit 0
fi

command -v java >/dev/null 2>&1 || { echo "there is no java here, which Flink needs" >&2; exit 3; }
mkdir -p "$folder/tmp" "$(dirname "$cache")"
if [ ! -d "$cache" ]; then
    # Made beside and moved in whole: several may come here at once.
    fresh=$(mktemp -d "$cache.XXXXXX")
    if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
        --dest "$fresh" "apache-flink-libraries==$version" >"$folder/pip.log" 2>&1; then
        rm -rf "$fresh"
        echo "PyPI does not give Flink: $(tail -n 1 "$folder/pip.log")" >&2
        exit 3
    fi
    mkdir "$fresh/lib"
    tar -xzf "$fresh"/*.tar.gz -C "$fresh/lib" --strip-components=3 --wildcards '*/deps/lib/*.jar'
    rm -f "$fresh"/*.tar.gz
    mv -T "$fresh" "$cache" 2>/dev/null || rm -rf "$fresh"
fi

opened=()
for package in java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.time java.util java.util.concurrent \
    java.util.concurrent.atomic sun.nio.ch sun.nio.cs; do
    opened+=("--add-opens=java.base/$package=ALL-UNNAMED")
done
# Without the compilers' later stages a cluster of a few seconds is up sooner.
options=("${opened[@]}" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Djava.io.tmpdir=$folder/tmp"
    "-Dlog4j.configurationFile=$folder/log4j.properties")
packages=org.apache.flink.runtime

launch() { # name heap main arguments…
    local name=$1 heap=$2 main=$3
    shift 3
    setsid nohup java "-Xmx$heap" "${options[@]}" -cp "$cache/lib/*" "$main" --configDir "$folder" "$@" \
        >"$folder/$name.log" 2>&1 </dev/null &
    echo $! >"$folder/$name.pid"
}

# The sizes that Flink's own scripts would work out for a task manager.
start_taskmanager() {
    launch taskmanager 640m $packages.taskexecutor.TaskManagerRunner \
        -D taskmanager.cpu.cores=2.0 -D taskmanager.memory.framework.heap.size=134217728b \
        -D taskmanager.memory.task.heap.size=536870912b -D taskmanager.memory.framework.off-heap.size=134217728b \
        -D taskmanager.memory.task.off-heap.size=0b -D taskmanager.memory.managed.size=134217728b \
        -D taskmanager.memory.network.min=268435456b -D taskmanager.memory.network.max=268435456b \
        -D taskmanager.memory.jvm-metaspace.size=268435456b -D taskmanager.memory.jvm-overhead.min=134217728b \
        -D taskmanager.memory.jvm-overhead.max=134217728b
}

slots() {
    "$python" -c 'import json, sys, urllib.request
print(json.load(urllib.request.urlopen(sys.argv[1], timeout=5))["slots-available"])' "http://127.0.0.1:$1/overview" 2>/dev/null || true
}

await() { # port
    for _ in $(seq 1 600); do
        if [ "$(slots "$1")" = 2 ]; then
            echo "127.0.0.1:$1"
            exit 0
        fi
        for part in jobmanager taskmanager; do
            kill -0 "$(cat "$folder/$part.pid")" 2>/dev/null || return 1
        done
        sleep 0.2
    done
    return 1
}

if [ "$action" = taskmanager ]; then
    start_taskmanager
    await "$(cat "$folder/port")"
    tail -n 3 "$folder/taskmanager.log" >&2
    exit 3
fi

cat >"$folder/log4j.properties" <<CONF
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
appender.console.name=console
appender.console.type=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %-5p %c{1} - %m%n
CONF
# Below the ephemeral ports, and others where somebody has taken them.
for _ in 1 2 3 4; do
    port=$((14000 + RANDOM % 1000 * 6))
    echo "$port" >"$folder/port"
    cat >"$folder/config.yaml" <<CONF
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: $((port + 1))
jobmanager.bind-host: 127.0.0.1
blob.server.port: "$((port + 2))"
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: $port
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.rpc.port: "$((port + 3))"
taskmanager.data.port: $((port + 4))
taskmanager.numberOfTaskSlots: 2
taskmanager.network.sort-shuffle.min-buffers: 64
web.upload.dir: $folder/tmp
io.tmp.dirs: $folder/tmp
heartbeat.interval: 1000
heartbeat.timeout: 10000
CONF
    launch jobmanager 512m $packages.entrypoint.StandaloneSessionClusterEntrypoint
    start_taskmanager
    await "$port" || true
    bash "$0" stop "$folder"
done
tail -n 3 "$folder/jobmanager.log" "$folder/taskmanager.log" >&2
exit 3
