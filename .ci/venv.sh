# Sourced by run_local.sh and run_tests.sh: `prepare_venv EXTRAS` makes ROOT/.venv and installs the project there.
#
# Nothing is installed again until setup.py changes (or the folder moves): a stamp in the environment remembers its hash.

say() { printf '%s\n' "$*" >&2; }

# Print the first Python that is 3.11 or newer, the version that CI uses first; PYTHON names one to prefer.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 \
            && "$candidate" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    say "beam-datahub needs Python 3.11 or newer, and found $(python3 --version 2>/dev/null || echo 'no Python at all')."
    say "Install one (Debian 12, Ubuntu 24.04: apt install python3 python3-venv), or name one: PYTHON=/path/to/python3.12 $0"
    return 1
}

make_venv() {
    local python
    python=$(find_python) || return 1
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        # Debian keeps the two in a package of their own.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            say "Installing python3-venv …"
            { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } >/dev/null 2>&1
        fi
        if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            say "$python cannot make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv"
            return 1
        fi
    fi
    say "Making a virtual environment with $("$python" --version) …"
    rm -rf "$ROOT/.venv"
    "$python" -m venv "$ROOT/.venv"
}

# prepare_venv EXTRAS: EXTRAS is a comma-separated list of setup.py's extras, or empty.
prepare_venv() {
    local extras=$1 wanted stamp
    stamp="$ROOT/.venv/installed${extras:+-${extras//,/-}}"
    wanted="$(cksum <"$ROOT/setup.py") $ROOT"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x "$ROOT/.venv/bin/python" ]; then
        return 0
    fi
    if ! "$ROOT/.venv/bin/python" -m pip --version >/dev/null 2>&1; then
        make_venv || return 1
    fi
    say "Installing beam-datahub and what it depends on (once; some minutes the first time) …"
    if ! PYTHONWARNINGS=ignore "$ROOT/.venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-color --progress-bar off \
        --root-user-action ignore --editable "$ROOT${extras:+[$extras]}" >&2; then
        say "The installation failed; pip's own message stands above. Run $0 again when its cause is mended."
        return 1
    fi
    # The first run would compile what it imports, and one that may not write there compiles it each time.
    "$ROOT/.venv/bin/python" -m compileall -q "$ROOT/beam_datahub" || true
    printf '%s\n' "$wanted" >"$stamp"
    # The plain installation is part of every other.
    printf '%s\n' "$wanted" >"$ROOT/.venv/installed"
}
