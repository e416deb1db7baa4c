"""The limit of every server: ONNX Runtime called in a loop, with nothing around it.

    python tests/bench/serving/in_process.py lenet --model-file lenet.onnx -c 1,8,32 --rows 1

A concurrency stands for the requests that could run together: the best of runs of one request's
rows and of runs of all of them, up to `--max-rows`, is the limit. With `--pause-ms` it rests before
every run, as a server does that waits for its client: caches are colder then. Prints `load.py`'s
lines.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from models import TOKENS

from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.wire.tensors import dtype_of


@dataclass(frozen=True)
class Limit:
    """What a session did in a loop."""

    rows_per_s: float
    cpu_s_per_row: float
    runs_s: list[float]


def measure(session: Session, rows: int, seconds: float, warmup_s: float, pause_s: float) -> Limit:
    (spec,) = session.inputs
    rng = np.random.default_rng(0)
    dtype = dtype_of(spec.datatype, spec.name)
    shape = (rows, *spec.shape[1:])
    x = rng.integers(0, TOKENS, shape) if dtype.kind == "i" else rng.standard_normal(shape)
    feeds = {spec.name: x.astype(dtype)}
    clock = time.perf_counter
    until = clock() + warmup_s
    while clock() < until:
        session.run(feeds)
    runs_s: list[float] = []
    cpu = time.process_time()
    start = now = clock()
    while now < start + seconds:
        if pause_s:
            time.sleep(pause_s)
            now = clock()
        session.run(feeds)
        ended = clock()
        runs_s.append(ended - now)
        now = ended
    ran = rows * len(runs_s)
    return Limit(ran / sum(runs_s), (time.process_time() - cpu) / ran, runs_s)


def main(options: argparse.Namespace) -> None:
    session = open_session(options.model_file, RuntimeOptions(device="cpu", intra_op_threads=1))
    for concurrency in map(int, options.concurrency.split(",")):
        together = max(options.rows, min(options.max_rows, concurrency * options.rows))
        sizes = sorted({options.rows, together})
        seconds = options.seconds / len(sizes)
        pause_s = 1e-3 * options.pause_ms
        limits = [measure(session, rows, seconds, options.warmup, pause_s) for rows in sizes]
        limit = max(limits, key=lambda measured: measured.rows_per_s)
        ms = 1e3 * np.array(limit.runs_s)
        row = {
            "model": options.model,
            "client": "python",
            "concurrency": concurrency,
            "rows": options.rows,
            "answered": len(ms),
            "errors": 0,
            "wrong": 0,
            "requests_per_s": round(limit.rows_per_s / options.rows, 1),
            "rows_per_s": round(limit.rows_per_s, 1),
            "p50_ms": round(float(np.percentile(ms, 50)), 3),
            "p99_ms": round(float(np.percentile(ms, 99)), 3),
            "server_us": round(1e6 * options.rows * limit.cpu_s_per_row, 1),
        }
        print(json.dumps(row), flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="what the lines call it")
    parser.add_argument("--model-file", type=Path, required=True)
    parser.add_argument("-c", "--concurrency", default="32", help="one or several: 1,8,32")
    parser.add_argument("--rows", type=int, default=1, help="of each request")
    parser.add_argument("--max-rows", type=int, default=64, help="of one run")
    parser.add_argument("--pause-ms", type=float, default=0, help="before each run")
    parser.add_argument("-s", "--seconds", type=float, default=5)
    parser.add_argument("-w", "--warmup", type=float, default=1, help="seconds before the clock")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse_arguments())
