#!/usr/bin/env bash
# Starts a Mosquitto broker on 127.0.0.1 for tests and prints its address; without a login one may do everything, and there is a
# user `etl` (`right`). `mosquitto.sh stop FOLDER` kills it. `mosquitto.sh start FOLDER` keeps everything in FOLDER; one that has
# been stopped starts again at its address, with the sessions that it had. Exit status 3: it cannot be had here.
set -eu
action=${1:?start or stop}
folder=${2:?a folder for its data}
PATH=$PATH:/usr/sbin

if [ "$action" = stop ]; then
    pid=$(cat "$folder/pid" 2>/dev/null || true)
    [ -n "$pid" ] || exit 0
    # It writes its sessions to a file when it is asked to.
    rm -f "$folder/mosquitto.db"
    kill -USR1 "$pid" 2>/dev/null || true
    for _ in $(seq 1 100); do
        [ -s "$folder/mosquitto.db" ] && break
        sleep 0.05
    done
    kill -9 "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$folder/pid"
    exit 0
fi

command -v mosquitto >/dev/null 2>&1 || bash "$(dirname -- "$0")/apt.sh" mosquitto
mkdir -p "$folder"
[ -f "$folder/users" ] || mosquitto_passwd -b -c "$folder/users" etl right 2>/dev/null
# Below the ephemeral ports, and others where somebody has taken them.
for _ in 1 2 3 4; do
    port=$(cat "$folder/port" 2>/dev/null || echo $((30000 + RANDOM % 1500)))
    cat >"$folder/mosquitto.conf" <<CONF
listener $port 127.0.0.1
allow_anonymous true
password_file $folder/users
persistence true
persistence_location $folder/
max_queued_messages 0
log_dest file $folder/server.log
CONF
    [ "$(id -u)" != 0 ] || echo "user root" >>"$folder/mosquitto.conf"
    : >"$folder/server.log"
    setsid nohup mosquitto -c "$folder/mosquitto.conf" >/dev/null 2>&1 </dev/null &
    echo $! >"$folder/pid"
    for _ in $(seq 1 300); do
        # The port alone may be somebody else's.
        if grep -q 'running' "$folder/server.log"; then
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
