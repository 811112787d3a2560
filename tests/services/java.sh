#!/usr/bin/env bash
# Makes sure that there are Java 17 and Maven, which Flink and Spark need, and prints Java's path. Exit status 3: they cannot be had here.
set -eu
lacking() {
    command -v java >/dev/null 2>&1 || return 0
    command -v mvn >/dev/null 2>&1 || return 0
    return 1
}
if lacking && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-17-jdk-headless maven) >/dev/null 2>&1 || true
fi
if lacking; then
    echo "there are no Java and Maven here; on Debian: apt-get install openjdk-17-jdk-headless maven" >&2
    exit 3
fi
command -v java
