"""Files that are small and become large, read by a process that may not let them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

PROGRAM = """
import sys
from pathlib import Path
from trainer.preparation.limits import limited
from trainer.preparation.prepare import make_ready, read
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import make_options

make_ready("parquet")

def refused(memory_mb, seconds, work):
    try:
        with limited(memory_mb, seconds):
            work()
    except InvalidArgument as error:
        print(error.message)

def table():
    return read(Path(sys.argv[1]), "parquet", make_options({}), lambda done: None)
"""


def run(code: str, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM + code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.strip()


def test_memory_is_bounded_and_the_process_lives_on(tmp_path: Path) -> None:
    """A million equal rows are a file of a few kilobytes."""
    rows = 1_000_000
    columns = {
        f"x{n}": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), pa.array(["a"]))
        for n in range(3)
    }
    path = tmp_path / "bomb.parquet"
    pyarrow.parquet.write_table(pa.table(columns | {"label": columns["x0"]}), path)
    assert path.stat().st_size < 100_000
    said = run("refused(16, 0, table); print(len(bytes(200_000_000)))", str(path))
    assert said.splitlines() == [
        "reading the file takes more than the 16 MiB of memory that are allowed", "200000000",
    ]  # fmt: skip


def test_processor_time_is_bounded() -> None:
    said = run(
        """
def loop():
    while True:
        pass

refused(0, 1, loop)
"""
    )
    assert said == "reading the file takes more than the 1 s of processor time that are allowed"
