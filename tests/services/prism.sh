#!/usr/bin/env bash
# Prints the path of Beam's Prism runner of the version that setup.py pins; builds it with Go the first time (one to two minutes).
# The binary is kept in $BEAM_DATAHUB_CACHE (~/.cache/beam-datahub unless set). Exit status 3: it cannot be had here.
set -eu
version=v2.77.0
cache=${BEAM_DATAHUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/beam-datahub}
binary=$cache/prism-$version/prism

if [ ! -x "$binary" ]; then
    PATH=$PATH:/usr/local/go/bin
    if ! command -v go >/dev/null 2>&1; then
        echo "Prism is built from source and there is no Go (1.24 or newer) here: see https://go.dev/doc/install" >&2
        exit 3
    fi
    # Built in a folder of its own and moved, so that nobody meets half a binary.
    mkdir -p "$cache"
    building=$(mktemp -d "$cache/prism.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    cd "$building"
    if ! GOBIN=$building GOFLAGS= go install "github.com/apache/beam/sdks/v2/go/cmd/prism@$version" >&2; then
        echo "go install of Prism $version failed; Go's own message stands above" >&2
        exit 3
    fi
    mkdir -p "$(dirname "$binary")"
    mv -f "$building/prism" "$binary"
fi
echo "$binary"
