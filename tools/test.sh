#!/usr/bin/env bash
# Every test but the benchmarks, one process per core, whole files each, and one thread each.  tools/test.sh [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
exec "${VENV:-.venv}/bin/python" -m pytest --numprocesses auto --dist loadfile -m 'not bench' --durations 25 --durations-min 5 "$@"
