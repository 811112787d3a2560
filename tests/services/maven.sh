#!/usr/bin/env bash
# Fetches jars and all that they need through Maven, once: `maven.sh CACHE NAME GROUP:ARTIFACT:VERSION…` puts them into CACHE/lib; a
# Java source in the variable SOURCE is compiled beside them. Exit status 3: they cannot be had here.
set -eu
cache=${1:?a folder to keep them in}
name=${2:?what they are for}
shift 2
for program in java mvn ${SOURCE:+javac}; do
    command -v $program >/dev/null 2>&1 || { echo "there is no $program here, which $name needs" >&2; exit 3; }
done
[ ! -d "$cache" ] || exit 0
mkdir -p "$(dirname "$cache")"
# Made beside and moved in whole: several may come here at once.
fresh=$(mktemp -d "$cache.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
{
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>beam-datahub</groupId><artifactId>jars</artifactId><version>1</version><dependencies>'
    for jar in "$@"; do
        IFS=: read -r group artifact version <<<"$jar"
        echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
} >"$fresh/pom.xml"
if ! mvn -q -B -f "$fresh/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$fresh/lib" >"$fresh/maven.log" 2>&1 ||
    ! ${SOURCE:+javac -cp "$fresh/lib/*" -d "$fresh/lib" "$SOURCE"} >>"$fresh/maven.log" 2>&1; then
    echo "$name cannot be had: $(grep -m 1 -i ERROR "$fresh/maven.log" || tail -n 1 "$fresh/maven.log")" >&2
    exit 3
fi
mv -T "$fresh" "$cache" 2>/dev/null || true
