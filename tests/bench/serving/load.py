"""Closed-loop load on one server; prints a JSON line per concurrency.

    python tests/bench/serving/load.py 127.0.0.1:8501 lenet --model-file lenet.onnx -c 1,8,32
    python tests/bench/serving/load.py 127.0.0.1:8080 lenet --model-file lenet.onnx --protocol raw

Every worker sends its next request when its last one was answered. Requests are encoded before
the clock starts. Answers are compared with ONNX Runtime in this process: the first of each
worker, then one in fifty. `client_us` and `server_us` are CPU time per request: unlike requests
per second they mean something on a machine that does other work too.
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

from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.wire import open_inference_pb2 as pb

_CHECK_EVERY = 50
_CASES = 8


class Case:
    """One request and the answer it must get."""

    def __init__(self, session: Session, model: str, protocol: str, seed: int) -> None:
        (spec,) = session.inputs
        shape = [1, *spec.shape[1:]]
        x = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        (self._expected,) = session.run({spec.name: x})
        self._is_raw = protocol == "raw"
        self.body = x.tobytes()
        if not self._is_raw:
            request = pb.ModelInferRequest(model_name=model, id="1")
            request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
            request.raw_input_contents.append(self.body)
            self.body = request.SerializeToString()

    def is_right(self, answer: bytes) -> bool:
        values = answer
        if not self._is_raw:
            response = pb.ModelInferResponse.FromString(answer)
            if response.raw_output_contents:
                values = response.raw_output_contents[0]
            else:  # MLServer answers with typed contents
                values = np.array(response.outputs[0].contents.fp32_contents, np.float32).tobytes()
        got, expected = np.frombuffer(values, np.float32), self._expected.ravel()
        tolerance = 1e-5 * float(np.abs(expected).max())
        return got.shape == expected.shape and bool(np.allclose(got, expected, atol=tolerance))


@dataclass
class Tally:
    """What the workers saw."""

    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    checked: int = 0
    wrong: int = 0
    last_error: str = ""


async def work(
    send: clients.Send, cases: list[Case], first: int, window: tuple[float, float], tally: Tally
) -> None:
    """One worker: sends until the window ends, counts what is answered within it."""
    start, end = window
    clock = time.perf_counter
    for k in itertools.count():
        case = cases[(first + k) % len(cases)]
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
        if k < 2 or k % _CHECK_EVERY == 0:
            tally.checked += 1
            tally.wrong += not case.is_right(answer)
        if start <= answered <= end:
            tally.latencies_s.append(answered - sent)


async def cpu_seconds(window: tuple[float, float], pids: list[int]) -> tuple[float, float]:
    """CPU time of this process and of the servers' process trees within the window."""
    start, end = window
    await asyncio.sleep(start - time.perf_counter())
    client, servers = time.process_time(), tree_cpu(pids)
    await asyncio.sleep(end - time.perf_counter())
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
    window = (start, start + options.seconds)
    tally = Tally()
    workers = [work(send, cases, i, window, tally) for i, send in enumerate(sends)]
    (client_s, server_s), *_ = await asyncio.gather(
        cpu_seconds(window, options.server_pid), *workers
    )
    answered = len(tally.latencies_s)
    ms = np.array(tally.latencies_s or [0]) * 1e3
    print(
        json.dumps(
            {
                "label": options.label or options.target,
                "model": options.model,
                "client": "python",
                "concurrency": len(sends),
                "answered": answered,
                "errors": tally.errors,
                "checked": tally.checked,
                "wrong": tally.wrong,
                "requests_per_s": round(answered / options.seconds, 1),
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
    cases = [Case(session, options.model, options.protocol, seed) for seed in range(_CASES)]
    if options.dump_body:
        frame = b"" if options.protocol == "raw" else b"\0" + len(cases[0].body).to_bytes(4, "big")
        options.dump_body.write_bytes(frame + cases[0].body)
        return True
    concurrencies = [int(c) for c in options.concurrency.split(",")]
    if options.protocol == "raw":
        sends = await clients.http_senders(options.target, f"/{options.model}", max(concurrencies))
    else:
        sends = await clients.grpc_senders(options.target, max(concurrencies))
    return all([await measure(options, cases, sends[:count]) for count in concurrencies])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="host:port")
    parser.add_argument("model", help="its name on the server; with raw, the HTTP path")
    parser.add_argument("--model-file", type=Path, required=True, help="the ONNX file it serves")
    parser.add_argument("--protocol", choices=["grpc", "raw"], default="grpc")
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
