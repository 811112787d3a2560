#!/usr/bin/env bash
# Sets everything up, then runs the main job: a packaged integration over its sample data. With arguments, passes them on:
#   ./run_local.sh                       the packaged integration templates/orders
#   ./run_local.sh run my.yaml           any other command of beam-datahub
set -eu
ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
. "$ROOT/.ci/venv.sh"
prepare_venv ""
if [ $# -eq 0 ]; then
    set -- run "$ROOT/templates/orders/integration.yaml"
fi
exec "$ROOT/.venv/bin/beam-datahub" "$@"
