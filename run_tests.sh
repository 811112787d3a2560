#!/usr/bin/env bash
# Runs what CI runs: format, lint, types, import contracts, fresh docs, then the tests. Arguments go to pytest.
# Every part runs, whatever failed before it; the exit status is 1 when any failed. Locally, a test whose server cannot be had
# is skipped with its reason; with CI=true it fails.
set -u
ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
cd -- "$ROOT" || exit 1
. "$ROOT/.ci/venv.sh"
prepare_venv normalise,codecs,pandas,protection,quality,openlineage,mysql,postgresql,excel,kafka,queues,http,mongodb,test || exit 1
bin="$ROOT/.venv/bin"

failed=()
part() {
    local name=$1
    shift
    local started=$SECONDS
    printf '\n── %s: %s\n' "$name" "${*//$bin\//}"
    if "$@"; then
        printf '   %s: passed (%d s)\n' "$name" "$((SECONDS - started))"
    else
        printf '   %s: FAILED (%d s)\n' "$name" "$((SECONDS - started))"
        failed+=("$name")
    fi
}

part format "$bin/ruff" format --check .
part lint "$bin/ruff" check .
part types "$bin/mypy"
part imports "$bin/lint-imports" --no-cache --no-logo
part docs "$bin/beam-datahub" docs --check

# pytest names these parts again beside its own result, see tests/conftest.py.
export FAILED_PARTS="${failed[*]-}"
printf '\n── tests\n'
# One worker a core; `-n 0` in the arguments turns that off, as a debugger needs.
"$bin/python" -m pytest --numprocesses auto --dist worksteal "$@"
status=$?
[ ${#failed[@]} -eq 0 ] || status=1
exit "$status"
