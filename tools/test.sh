#!/usr/bin/env bash
# Every test but the benchmarks, in processes of one thread each.  tools/test.sh [PYTEST ARGUMENTS]
# Files of whole systems run in one of them, the others in the rest: see tests/conftest.py.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
exec "${VENV:-.venv}/bin/python" -m pytest --numprocesses auto --dist loadgroup --no-loadscope-reorder \
    -m 'not bench' --durations 25 --durations-min 5 "$@"
