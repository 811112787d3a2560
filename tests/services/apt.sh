#!/usr/bin/env bash
# Installs Debian packages: `apt.sh PACKAGE…`. apt does not wait for another that is at work, so those that come here at once, as the
# tests' workers do, take turns. Prints nothing to standard output. Exit status 3: they cannot be had here.
set -eu
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "on Debian: apt-get install $*" >&2
    exit 3
fi
log=/tmp/beam-datahub-apt.log
exec 9>/tmp/beam-datahub-apt.lock
flock 9
export DEBIAN_FRONTEND=noninteractive
for _ in 1 2 3; do
    # Servers that are started by their installation must not keep the lock.
    if { apt-get update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"; } >"$log" 2>&1 9>&-; then
        exit 0
    fi
    sleep 2
done
echo "apt-get cannot install $*: $(tail -n 1 "$log")" >&2
exit 3
