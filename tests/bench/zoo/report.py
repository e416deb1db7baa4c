"""The table of docs/zoo.md: every architecture trained, exported, timed and explained here.

python tests/bench/zoo/report.py                every row that has no result yet, then the page
python tests/bench/zoo/report.py lenet5 segnet  these rows anew, then the page
python tests/bench/zoo/report.py --page         the page alone, from the results there are
python tests/bench/zoo/report.py --list

Each row runs in a process of its own, whose peak of memory is measured. Results are kept in
results.json beside this file, row by row, so that a run that broke off goes on. Times are of the
machine it ran on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from page import write_page  # noqa: E402
from rows import ROWS, find_row  # noqa: E402

RESULTS = Path(__file__).with_name("results.json")
SEQUENCE_RESULTS = ROOT / "tests" / "bench" / "sequences" / "results.json"
PAGE = ROOT / "docs" / "zoo.md"
ROW_SECONDS = 2 * 3600.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", help="run this row in this process and print its result")
    arguments = parser.parse_args()
    names = [row.name for row in ROWS]
    if unknown := sorted({*arguments.rows} - {*names}):
        parser.error(
            f"no row {', '.join(unknown)}: see --list; networks of sequences are trained by "
            "tests/bench/sequences/train.py"
        )
    if arguments.list:
        print("\n".join(names))
    elif arguments.one:
        from measuring import measure

        print(json.dumps(measure(find_row(arguments.one), arguments.threads)))
    else:
        measured = results()
        wanted = arguments.rows or [name for name in names if name not in measured]
        for name in [] if arguments.page else wanted:
            keep(name, run_apart(name, arguments.threads))
        write_page(PAGE, results(), results(SEQUENCE_RESULTS))


def results(kept: Path = RESULTS) -> dict[str, Any]:
    """What has been measured, by row."""
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    return found


def keep(name: str, result: dict[str, Any]) -> None:
    """A row that fails loses no result that it had."""
    found = results()
    if "failed" in result and name in found:
        return
    found[name] = result
    ordered = {row.name: found[row.name] for row in ROWS if row.name in found}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")


def run_apart(name: str, threads: int) -> dict[str, Any]:
    """The row's result, or why there is none."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "--one", name, "--threads", str(threads)]
    result: dict[str, Any]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=ROW_SECONDS)
        failed = "" if ran.returncode == 0 else (ran.stderr.strip().splitlines() or ["?"])[-1]
        result = {"failed": failed} if failed else json.loads(ran.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        result = {"failed": f"took more than {ROW_SECONDS:.0f} s"}
    print(f"{name}: {time.perf_counter() - started:.0f} s {result.get('failed', '')}", flush=True)
    return result


if __name__ == "__main__":
    main()
