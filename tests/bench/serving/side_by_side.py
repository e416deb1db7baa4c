"""Servers side by side: one interleaved run, medians over its rounds.

    python tests/bench/serving/side_by_side.py
    python tests/bench/serving/side_by_side.py --only wintergarden,mosec -c 1,8,32 --rounds 5
    python tests/bench/serving/side_by_side.py --models tiny,lenet,cnn,lstm --out results.jsonl
    python tests/bench/serving/picture.py results.jsonl picture.png

Each server is started, measured and ended, round after round and every other round in reverse, so
that no two run together and a slow drift of the machine hits all alike. Peers get virtual
environments under .tools/bench/ on first use. Where h2load is installed (Debian: nghttp2-client)
it measures as well: a Python client costs more than the faster servers do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import h2load
import models
from contenders import CONTENDERS, MODELS, OURS, PEERS, ROOT, STORE, Contender, install_peer
from processes import START_S, environment, running
from table import table

from wintergarden.store import open_store

HERE = Path(__file__).parent

Rates = dict[tuple[str, int, int], float]  # requests/s of our server by model, rows, concurrency


@dataclass(frozen=True)
class Cell:
    """A running contender and what it is measured with."""

    contender: Contender
    port: int
    pids: list[int]
    model: str
    rows: int

    def arguments(self) -> list[str]:
        file = MODELS / f"{self.model}.onnx"
        target = f"127.0.0.1:{self.port}"
        return [target, self.model, "--model-file", str(file), "--rows", str(self.rows)]


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
    rates: Rates = {}
    for number in range(options.rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            try:
                with running(contender, options.logs) as (port, pids):
                    for model, rows in product(options.models.split(","), options.rows):
                        cell = Cell(contender, port, pids, model, rows)
                        for row in measure(cell, options, rates):
                            yield {**row, "label": contender.label, "round": number}
            except RuntimeError as error:
                yield {"label": contender.label, "round": number, "failed": str(error)}


def measure(cell: Cell, options: argparse.Namespace, rates: Rates) -> Iterator[dict[str, Any]]:
    if cell.contender.protocol == "in-process":
        yield from limits(cell, options, rates)
        return
    # A port that listens is not yet a model that answers, nor one process all of them.
    until = time.monotonic() + START_S
    while not all(load(cell, "-c", "8", "-s", "0.2", "-w", "0") for _ in range(3)):
        if time.monotonic() > until:
            raise RuntimeError(f"{cell.model} was not served within {START_S:g} s")
        time.sleep(0.3)
    watched = [argument for pid in cell.pids for argument in ("--server-pid", str(pid))]
    for row in load(cell, "-c", options.concurrency, *times(options), *watched, partial=True):
        if cell.contender.label == OURS:
            rates[cell.model, cell.rows, row["concurrency"]] = row["requests_per_s"]
        yield row
    # It cannot speak on a stream, nor keep the regions that a request names.
    readable = cell.contender.answers and cell.contender.protocol in ("grpc", "raw")
    if h2load.is_installed() and readable:
        with tempfile.NamedTemporaryFile() as body:
            load(cell, "--dump-body", body.name)
            path = f"/{cell.model}" if cell.contender.protocol == "raw" else ""
            for concurrency in concurrencies(options):
                row = h2load.measure(
                    cell.port, path, Path(body.name), cell.pids, concurrency, options.seconds
                )
                rows_per_s = cell.rows * row["requests_per_s"]
                yield {**row, "model": cell.model, "rows": cell.rows, "rows_per_s": rows_per_s}


def limits(cell: Cell, options: argparse.Namespace, rates: Rates) -> Iterator[dict[str, Any]]:
    """ONNX Runtime in a loop; with processes beside it, while they serve what we served."""
    for concurrency in concurrencies(options):
        with ExitStack() as stack:
            if cell.pids:
                rate = rates.get((cell.model, cell.rows, concurrency))
                if rate is None:
                    continue  # our server was not measured in this run
                stack.enter_context(traffic(cell, concurrency, rate))
            flags = ("-c", str(concurrency), "--pause-ms", str(cell.contender.pause_ms))
            yield from lines("in_process.py", cell, *flags, *times(options))


@contextmanager
def traffic(cell: Cell, concurrency: int, rate: float) -> Iterator[None]:
    """The client of a server, and one that answers nothing, for as long as the block lasts."""
    flags = ("-c", str(concurrency), "--rate", str(rate), "--no-check", "-s", "3600")
    client = subprocess.Popen(
        [sys.executable, HERE / "load.py", *cell.arguments(), *flags],
        env=environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        time.sleep(1)
        yield
    finally:
        client.kill()
        client.wait()


def load(cell: Cell, *flags: str, partial: bool = False) -> list[dict[str, Any]]:
    unchecked = () if cell.contender.answers else ("--no-check",)
    arguments = ("--protocol", cell.contender.protocol, *unchecked, *flags)
    return lines("load.py", cell, *arguments, partial=partial)


def lines(script: str, cell: Cell, *flags: str, partial: bool = False) -> list[dict[str, Any]]:
    """What a script printed; none when it failed, unless what it printed is wanted all the same."""
    arguments = cell.arguments() if script == "load.py" else cell.arguments()[1:]
    ran = subprocess.run(
        [sys.executable, HERE / script, *arguments, *flags],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if ran.returncode and not (partial and ran.stdout):
        return []
    return [json.loads(line) for line in ran.stdout.splitlines()]


def times(options: argparse.Namespace) -> tuple[str, ...]:
    return ("-s", str(options.seconds), "-w", str(options.warmup))


def concurrencies(options: argparse.Namespace) -> list[int]:
    return [int(c) for c in options.concurrency.split(",")]


def chosen(labels: str | None) -> list[Contender]:
    known = {c.label: c for c in CONTENDERS}
    wanted = list(known) if labels is None else labels.split(",")
    if unknown := [label for label in wanted if label not in known]:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[label] for label in wanted]


def whole_numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"of {','.join(c.label for c in CONTENDERS)}")
    parser.add_argument("--models", default="lenet", help=f"of {','.join(models.MODELS)}")
    parser.add_argument("-c", "--concurrency", default="32", help="one or several: 1,8,32")
    parser.add_argument("--rows", type=whole_numbers, default=[1], help="of each request: 1,32")
    parser.add_argument("-s", "--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("-w", "--warmup", type=float, default=1, help="seconds before each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write each measurement as a JSON line")
    parser.add_argument("--logs", type=Path, default=ROOT / ".tools" / "bench" / "logs")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    options = parse_arguments(arguments)
    rows = []
    with options.out.open("w") if options.out else nullcontext() as out:
        for row in run(options):
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
            if out:
                print(json.dumps(row), file=out, flush=True)
    print(table(rows))
    return rows


if __name__ == "__main__":
    main()
