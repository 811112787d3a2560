#!/usr/bin/env bash
# Makes sure that there are Java 17 and Maven, which Flink and Spark need, and prints Java's path. Exit status 3: they cannot be had here.
set -eu
lacking() {
    command -v java >/dev/null 2>&1 || return 0
    command -v mvn >/dev/null 2>&1 || return 0
    return 1
}
lacking && bash "$(dirname -- "$0")/apt.sh" openjdk-17-jdk-headless maven || true
if lacking; then
    echo "there are no Java and Maven here; on Debian: apt-get install openjdk-17-jdk-headless maven" >&2
    exit 3
fi
command -v java
