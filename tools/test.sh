#!/usr/bin/env bash
# Every test but the benchmarks, in processes of one thread each, whole files each.  tools/test.sh [PYTEST ARGUMENTS]
# One process more than cores, since many tests wait for others; in the folders' order, which has the long files first.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
exec "${VENV:-.venv}/bin/python" -m pytest --numprocesses "$(($(getconf _NPROCESSORS_ONLN) + 1))" --dist loadfile --no-loadscope-reorder \
    -m 'not bench' --durations 25 --durations-min 5 "$@"
