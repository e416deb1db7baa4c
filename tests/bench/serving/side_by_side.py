"""Servers side by side: one interleaved run, medians over its rounds.

    python tests/bench/serving/side_by_side.py
    python tests/bench/serving/side_by_side.py --only wintergarden,mosec -c 1,8,32 --rounds 5
    python tests/bench/serving/side_by_side.py --models tiny,lenet,cnn --out results.jsonl

Each server is started, measured and ended, round after round and every other round in reverse, so
that no two run together and a slow drift of the machine hits all alike. Peers get virtual
environments under .tools/bench/ on first use. Where h2load is installed (Debian: nghttp2-client)
it measures as well: a Python client costs more than the faster servers do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import models
import psutil
from contenders import CONTENDERS, MODELS, PEERS, ROOT, STORE, Command, Contender, install_peer
from load import tree_cpu
from table import table

from wintergarden.store import open_store

HERE = Path(__file__).parent
INFER = "/inference.GRPCInferenceService/ModelInfer"
_START_S = 60.0
_CONNECTIONS = 4  # of the gRPC clients; HTTP/1.1 needs one for each request in flight


def prepare(contenders: list[Contender]) -> None:
    """Models, store and environments, where they are not there yet."""
    models.write(MODELS)
    store = open_store(str(STORE))
    for file in sorted(MODELS.glob("*.onnx")):
        if not store.list_versions(file.stem):
            store.import_onnx(file.stem, file.read_bytes())
    for peer in PEERS:
        if any(c.peer == peer for c in contenders):
            install_peer(peer)


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measurements as they are made."""
    contenders = chosen(options.only)
    prepare(contenders)
    for number in range(options.rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            try:
                with running(contender, options.logs) as (port, pids):
                    for model in options.models.split(","):
                        for row in measure(contender, port, pids, model, options):
                            yield {**row, "label": contender.label, "round": number}
            except RuntimeError as error:
                yield {"label": contender.label, "round": number, "failed": str(error)}


def measure(
    contender: Contender, port: int, pids: list[int], model: str, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    until = time.monotonic() + _START_S  # a port that listens is not yet a model that answers
    while not load(contender, port, model, "-c", "1", "-s", "0.2", "-w", "0"):
        if time.monotonic() > until:
            raise RuntimeError(f"{model} was not served within {_START_S:g} s")
        time.sleep(0.3)
    seconds = ("-s", str(options.seconds), "-w", str(options.warmup))
    watched = [argument for pid in pids for argument in ("--server-pid", str(pid))]
    yield from load(
        contender, port, model, "-c", options.concurrency, *seconds, *watched, partial=True
    )
    if shutil.which("h2load"):
        for concurrency in map(int, options.concurrency.split(",")):
            yield h2load(contender, port, pids, model, concurrency, options.seconds)


def load(
    contender: Contender, port: int, model: str, *flags: str, partial: bool = False
) -> list[dict[str, Any]]:
    """Lines of `load.py`; none when it failed, unless what it printed is wanted all the same."""
    of_contender = ("--model-file", MODELS / f"{model}.onnx", "--protocol", contender.protocol)
    ran = subprocess.run(
        [sys.executable, HERE / "load.py", f"127.0.0.1:{port}", model, *of_contender, *flags],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if ran.returncode and not (partial and ran.stdout):
        return []
    return [json.loads(line) for line in ran.stdout.splitlines()]


def h2load(
    contender: Contender, port: int, pids: list[int], model: str, concurrency: int, seconds: float
) -> dict[str, Any]:
    """Requests/s by nghttp2's client. It knows HTTP only: answers were checked just before."""
    is_raw = contender.protocol == "raw"
    with tempfile.NamedTemporaryFile() as body:
        load(contender, port, model, "--dump-body", body.name)
        connections = concurrency if is_raw else min(_CONNECTIONS, concurrency)
        flags = ["-c", str(connections), "-m", str(max(1, concurrency // connections))]
        if is_raw:
            flags = ["--h1", *flags, "-H", "content-type: application/octet-stream"]
        else:
            flags += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        url = f"http://127.0.0.1:{port}{f'/{model}' if is_raw else INFER}"
        before = tree_cpu(pids)
        ran = subprocess.run(
            ["h2load", "-D", f"{seconds:g}", "-d", body.name, *flags, url],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
        used = sum(s - before.get(pid, 0) for pid, s in tree_cpu(pids).items())
    done, failed, errored = (
        int(re.search(rf"(\d+) {word}", ran.stdout)[1]) for word in ("done", "failed", "errored")
    )
    return {
        "model": model,
        "client": "h2load",
        "concurrency": concurrency,
        "answered": done,
        "errors": failed + errored,
        "wrong": 0,
        "requests_per_s": float(re.search(r"([\d.]+) req/s", ran.stdout)[1]),
        "server_us": round(1e6 * used / max(1, done), 1),
    }


@contextmanager
def running(contender: Contender, logs: Path) -> Iterator[tuple[int, list[int]]]:
    """The port and the processes of a started contender; all of them end on leaving."""
    port = free_port()
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        log = stack.enter_context((logs / f"{contender.label}.log").open("ab"))
        processes = []
        for command in contender.commands(port, scratch):
            processes.append(start(command, log))
            stack.callback(end, processes[-1])
        until = time.monotonic() + _START_S
        while not listens(port):
            if time.monotonic() > until or any(p.poll() is not None for p in processes):
                raise RuntimeError(f"it did not start; see {log.name}")
            time.sleep(0.1)
        yield port, [p.pid for p in processes]


def start(command: Command, log: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.arguments,
        cwd=ROOT,
        env=environment() | dict(command.variables),
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """The process and its children: asked first, then made to."""
    tree: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        tree = [parent, *parent.children(recursive=True)]
    for number, patience_s in ((signal.SIGTERM, 8), (signal.SIGKILL, 5)):
        for member in tree:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        _, tree = psutil.wait_procs(tree, timeout=patience_s)
    process.wait()


def environment() -> dict[str, str]:
    # One thread for each server's operators: otherwise a comparison of thread pools.
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    """With a free neighbour, for contenders of two processes."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def chosen(labels: str | None) -> list[Contender]:
    known = {c.label: c for c in CONTENDERS}
    wanted = list(known) if labels is None else labels.split(",")
    if unknown := [label for label in wanted if label not in known]:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[label] for label in wanted]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"of {','.join(c.label for c in CONTENDERS)}")
    parser.add_argument("--models", default="lenet", help=f"of {','.join(models.MODELS)}")
    parser.add_argument("-c", "--concurrency", default="32", help="one or several: 1,8,32")
    parser.add_argument("-s", "--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("-w", "--warmup", type=float, default=1, help="seconds before each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write each measurement as a JSON line")
    parser.add_argument("--logs", type=Path, default=ROOT / ".tools" / "bench" / "logs")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    options = parse_arguments(arguments)
    rows = []
    for row in run(options):
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    if options.out:
        options.out.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    print(table(rows))
    return rows


if __name__ == "__main__":
    main()
