"""Closed-loop load on one server; prints a JSON line per concurrency.

    python tests/bench/serving/load.py 127.0.0.1:8501 lenet --model-file lenet.onnx -c 1,8,32
    python tests/bench/serving/load.py 127.0.0.1:8080 lenet --model-file lenet.onnx --protocol raw

Every worker sends its next request when its last one was answered, and no sooner than `--rate`
allows. Requests are encoded before the clock starts. Answers are compared with ONNX Runtime in
this process: the first of each worker, then one in fifty. `client_us` and `server_us` are CPU time
per request: unlike requests per second they mean something on a machine that does other work too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import clients
import numpy as np
import psutil
import shared_memory
from cases import Case

from wintergarden.runtime import RuntimeOptions, Session, open_session

_CHECK_EVERY = 50
_CASES = 8


@dataclass(frozen=True)
class Pace:
    """When the workers send and whether their answers are checked.

    Attributes:
        start: of the window that counts; what is answered before warms up.
        interval_s: from a worker's request to its next, at least.
    """

    start: float
    end: float
    workers: int
    interval_s: float
    checks: bool


@dataclass
class Tally:
    """What the workers saw."""

    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    checked: int = 0
    wrong: int = 0
    last_error: str = ""


async def work(send: clients.Send, cases: list[Case], first: int, pace: Pace, tally: Tally) -> None:
    """One worker: sends until the window ends, counts what is answered within it."""
    start, end = pace.start, pace.end
    clock = time.perf_counter
    due = clock() + first * pace.interval_s / pace.workers
    for k in itertools.count():
        case = cases[(first + k) % len(cases)]
        if pace.interval_s:
            await asyncio.sleep(max(0, due - clock()))
            due += pace.interval_s
        sent = clock()
        if sent >= end:
            return
        try:
            answer = await send(case.body)
        except Exception as error:
            tally.errors += 1
            tally.last_error = f"{type(error).__name__}: {error}"[:300]
            await asyncio.sleep(0.05)
            continue
        answered = clock()
        if pace.checks and (k < 2 or k % _CHECK_EVERY == 0):
            tally.checked += 1
            tally.wrong += not case.is_right(answer)
        if start <= answered <= end:
            tally.latencies_s.append(answered - sent)


async def cpu_seconds(pace: Pace, pids: list[int]) -> tuple[float, float]:
    """CPU time of this process and of the servers' process trees within the window."""
    await asyncio.sleep(pace.start - time.perf_counter())
    client, servers = time.process_time(), tree_cpu(pids)
    await asyncio.sleep(pace.end - time.perf_counter())
    after = tree_cpu(pids)
    server = sum(seconds - servers.get(pid, 0) for pid, seconds in after.items())
    return time.process_time() - client, server


def tree_cpu(pids: list[int]) -> dict[int, float]:
    """CPU seconds so far of processes and all their children, by process."""
    used: dict[int, float] = {}
    for root in pids:
        parent = psutil.Process(root)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used[process.pid] = times.user + times.system
    return used


async def measure(
    options: argparse.Namespace, cases: list[Case], sends: list[clients.Send]
) -> bool:
    start = time.perf_counter() + options.warmup
    interval_s = len(sends) / options.rate if options.rate else 0.0
    pace = Pace(start, start + options.seconds, len(sends), interval_s, not options.no_check)
    tally = Tally()
    workers = [work(send, cases, i, pace, tally) for i, send in enumerate(sends)]
    (client_s, server_s), *_ = await asyncio.gather(cpu_seconds(pace, options.server_pid), *workers)
    answered = len(tally.latencies_s)
    ms = np.array(tally.latencies_s or [0]) * 1e3
    print(
        json.dumps(
            {
                "label": options.label or options.target,
                "model": options.model,
                "client": "python",
                "concurrency": len(sends),
                "rows": options.rows,
                "answered": answered,
                "errors": tally.errors,
                "checked": tally.checked,
                "wrong": tally.wrong,
                "requests_per_s": round(answered / options.seconds, 1),
                "rows_per_s": round(options.rows * answered / options.seconds, 1),
                "p50_ms": round(float(np.percentile(ms, 50)), 3),
                "p99_ms": round(float(np.percentile(ms, 99)), 3),
                "client_us": round(1e6 * client_s / max(1, answered), 1),
                "server_us": round(1e6 * server_s / max(1, answered), 1),
                "last_error": tally.last_error,
            }
        ),
        flush=True,
    )
    return bool(answered) and not tally.errors and not tally.wrong


async def main(options: argparse.Namespace) -> bool:
    session = open_session(options.model_file, RuntimeOptions(device="cpu", intra_op_threads=1))
    cases = [
        Case(session, options.model, options.protocol, options.rows, seed) for seed in range(_CASES)
    ]
    if options.dump_body:
        frame = b"" if options.protocol == "raw" else b"\0" + len(cases[0].body).to_bytes(4, "big")
        options.dump_body.write_bytes(frame + cases[0].body)
        return True
    concurrencies = [int(c) for c in options.concurrency.split(",")]
    sends = await senders(options, max(concurrencies), session, cases[0])
    return all([await measure(options, cases, sends[:count]) for count in concurrencies])


async def senders(
    options: argparse.Namespace, count: int, session: Session, case: Case
) -> list[clients.Send]:
    if options.protocol == "raw":
        return await clients.http_senders(options.target, f"/{options.model}", count)
    if options.protocol == "stream":
        return await clients.stream_senders(options.target, count)
    if options.protocol == "shared-memory":
        sizes = (len(case.body), case.answer_bytes)
        what = shared_memory.exchange(session, options.model, options.rows, sizes)
        return await shared_memory.senders(options.target, count, what)
    return await clients.unary_senders(options.target, count)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="host:port")
    parser.add_argument("model", help="its name on the server; with raw, the HTTP path")
    parser.add_argument("--model-file", type=Path, required=True, help="the ONNX file it serves")
    parser.add_argument(
        "--protocol", choices=["grpc", "stream", "shared-memory", "raw"], default="grpc"
    )
    parser.add_argument("--rows", type=int, default=1, help="of each request")
    parser.add_argument("--rate", type=float, default=0, help="requests per second, at most")
    parser.add_argument("--no-check", action="store_true", help="the server answers nonsense")
    parser.add_argument("-c", "--concurrency", default="32", help="one or several: 1,8,32")
    parser.add_argument("-s", "--seconds", type=float, default=5)
    parser.add_argument("-w", "--warmup", type=float, default=1, help="seconds before the clock")
    parser.add_argument("--server-pid", type=int, action="append", default=[])
    parser.add_argument("--label")
    parser.add_argument("--dump-body", type=Path, help="only write one request, for h2load")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(ImportError):  # a lighter client where it is installed
        import uvloop

        uvloop.install()
    is_good = asyncio.run(main(parse_arguments()))
    sys.stdout.flush()
    os._exit(0 if is_good else 1)  # grpc.aio takes seconds to end hundreds of idle channels
