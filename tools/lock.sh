#!/usr/bin/env bash
# Write constraints.txt anew: the newest releases with which every extra fits into one environment.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=.tools/lock
rm -rf "$lock"
"${PYTHON:-python3}" -m venv "$lock"
"$lock/bin/pip" install --quiet --disable-pip-version-check '.[test,gpu]' 'grpcio==1.81.*' 'grpcio-status==1.81.*'
cat >constraints.txt <<'END'
# The lock for every extra, written by `make lock`: pip install -c constraints.txt '.[EXTRA]', Python 3.11 or newer.
# The tests have tritonclient beside the SDK, which holds protobuf below 7 and the grpcio family at one minor.
# torch is named without its build, so a CPU wheel from another index satisfies it too.
END
"$lock/bin/pip" freeze --exclude wintergarden --exclude setuptools |
    sed -E 's/\+[^ ]*//; /^(nvidia|cuda|triton=)/d; s/^(onnxruntime)-gpu(.*)/&\n\1\2/' | sort -f >>constraints.txt
