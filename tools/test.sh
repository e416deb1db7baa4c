#!/usr/bin/env bash
# Every test but the benchmarks, in processes of one thread each.  tools/test.sh [PYTEST ARGUMENTS]
# Whole files stay in one of them, and so do all files of whole systems: see tests/conftest.py.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
exec "${VENV:-.venv}/bin/python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder \
    -m 'not bench' --durations 25 --durations-min 5 "$@"
