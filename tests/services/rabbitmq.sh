#!/usr/bin/env bash
# Starts a RabbitMQ server on 127.0.0.1 for tests and prints its address; `guest` (`guest`) may do everything. `rabbitmq.sh stop
# FOLDER` kills it, `rabbitmq.sh start FOLDER` keeps everything in FOLDER; one that has been stopped starts again at its address,
# with what it had. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}

if [ "$action" = stop ]; then
    pid=$(cat "$folder/server.pid" 2>/dev/null || true)
    if [ -n "$pid" ]; then
        kill -9 "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    fi
    epmd=$(cat "$folder/epmd.pid" 2>/dev/null || true)
    [ -z "$epmd" ] || kill -9 "$epmd" 2>/dev/null || true
    rm -f "$folder/server.pid" "$folder/epmd.pid"
    exit 0
fi

command -v rabbitmq-server >/dev/null 2>&1 || bash "$(dirname -- "$0")/apt.sh" rabbitmq-server
mkdir -p "$folder/log"
for _ in 1 2 3 4; do
    # Below the ephemeral ports, and others where somebody has taken them.
    port=$(cat "$folder/port" 2>/dev/null || echo $((27000 + RANDOM % 600 * 3)))
    echo "listeners.tcp.1 = 127.0.0.1:$port
vm_memory_high_watermark.relative = 0.9
disk_free_limit.absolute = 10MB" >"$folder/rabbitmq.conf"
    : >"$folder/plugins"
    rm -f "$folder/log/"*
    export HOME="$folder" RABBITMQ_NODENAME="tests$port@localhost" RABBITMQ_MNESIA_BASE="$folder/data" RABBITMQ_LOG_BASE="$folder/log" \
        RABBITMQ_CONFIG_FILE="$folder/rabbitmq.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$folder/plugins" \
        RABBITMQ_PID_FILE="$folder/rabbitmq.pid" RABBITMQ_DIST_PORT=$((port + 1)) ERL_EPMD_ADDRESS=127.0.0.1 \
        ERL_EPMD_PORT=$((port + 2)) RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_IO_THREAD_POOL_SIZE=32 \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
    # The wrapper of Debian changes the user, and its variables do not come along.
    server=/usr/lib/rabbitmq/bin/rabbitmq-server
    [ -x "$server" ] || server=$(command -v rabbitmq-server)
    setsid nohup "$(command -v epmd || ls /usr/lib/erlang/erts-*/bin/epmd | head -n 1)" -port "$ERL_EPMD_PORT" -address 127.0.0.1 \
        >/dev/null 2>&1 </dev/null &
    echo $! >"$folder/epmd.pid"
    setsid nohup "$server" >"$folder/server.log" 2>&1 </dev/null &
    wrapper=$!
    for _ in $(seq 1 900); do
        # The port alone may be somebody else's.
        if grep -qs 'Server startup complete' "$folder/log/tests$port@localhost.log" && [ -s "$folder/rabbitmq.pid" ]; then
            # The virtual machine itself, below the wrapper.
            cp "$folder/rabbitmq.pid" "$folder/server.pid"
            echo "$port" >"$folder/port"
            echo "127.0.0.1:$port"
            exit 0
        fi
        kill -0 $wrapper 2>/dev/null || break
        sleep 0.1
    done
    bash "$0" stop "$folder"
done
tail -n 3 "$folder/server.log" >&2
exit 3
