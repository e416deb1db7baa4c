#!/usr/bin/env bash
# Install the project with its extras into $VENV, locked.  tools/install.sh EXTRAS STAMP
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "$*" >&2; exit 1; }
recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11} none; do
    recent "$python" && break
done
[ "$python" != none ] || fail "Python 3.11 or newer is missing (${PYTHON:-python3}:" \
    "$({ "${PYTHON:-python3}" -V; } 2>/dev/null || echo not found)): sudo apt install python3 python3-venv, or make PYTHON=/path/to/python3"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "The venv module of $python is missing: sudo apt install python3-venv"
[ -x "$VENV/bin/python" ] || "$python" -m venv "$VENV"
[ -t 1 ] || quiet=--quiet
echo "Installing .[$1] into $VENV …"
"$VENV/bin/python" -m pip install --disable-pip-version-check ${quiet-} --constraint constraints.txt --editable ".[$1]"
touch "$2"
