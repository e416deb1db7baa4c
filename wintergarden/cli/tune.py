"""`wintergarden tune`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from wintergarden.cli.local.home import Home
from wintergarden.cli.local.services import source_tree
from wintergarden.cli.output import AsJson, aside, people, print_json, table, waiting
from wintergarden.errors import WintergardenError

_MODULE = "services.inference.tune"


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its name.")],
    *,
    p99_ms: Annotated[
        float, typer.Option("--p99-ms", help="99 of 100 answers must come within this time.")
    ] = 20.0,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Callers at once.")] = 8,
    rows: Annotated[int, typer.Option(min=1, help="Examples in a request.")] = 1,
    seconds: Annotated[float, typer.Option(help="Of each trial.")] = 1.0,
    version: Annotated[int, typer.Option(min=0, help="0 is the latest.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    store_uri: Annotated[
        str,
        typer.Option(
            envvar="INFERENCE_STORE_URI",
            help="A model store, or with --dry-run a Triton repository. Default: that of --home.",
        ),
    ] = "",
    home: Annotated[
        Path, typer.Option(envvar="WINTERGARDEN_HOME", file_okay=False, help="As of `up`.")
    ] = Path(".wintergarden"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find out how a model is served best on this machine, and have it served so.

    Serves it in every likely way, with different threads, instances, batch
    sizes and delays, and keeps the one that answers most within the latency
    budget, as config.pbtxt of the model. A service that watches the store
    takes it over at once. Measures best on a machine that does nothing else.

    \b
    Examples:
      wintergarden tune lenet5-mnist-5k --p99-ms 5
      wintergarden tune my-net --concurrency 32 --dry-run
      wintergarden tune my-net --store-uri s3://bucket/models --json
    """
    flags = {
        "store-uri": store_uri or str(Home(home.resolve()).store),
        "model": model,
        "version": version,
        "p99-ms": p99_ms,
        "concurrency": concurrency,
        "rows": rows,
        "seconds": seconds,
        "device": device,
    }
    command = [sys.executable, "-m", _MODULE, *(f"--{n}={v}" for n, v in flags.items())]
    trials: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    command += ["--dry-run"] * dry_run
    with waiting(f"measuring {model}", quiet=as_json), _lines(command) as lines:
        for line in lines:
            if line["event"] == "trial":
                trials.append(line)
                if not as_json:
                    aside.print(f"[dim]{_described(line)}[/]")
            elif line["event"] == "error":
                raise WintergardenError(line["message"])
            else:
                result = line
    if as_json:
        print_json({**result, "trials": trials})
        return
    people.print(_summary(trials, result))
    _conclude(result)


@contextmanager
def _lines(command: list[str]) -> Iterator[Iterator[dict[str, Any]]]:
    """What a room's process says, a line of JSON each; it ends with us."""
    with subprocess.Popen(command, cwd=source_tree(), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield map(json.loads, process.stdout or ())
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise WintergardenError(f"the measurement ended with status {process.returncode}")


def _summary(trials: list[dict[str, Any]], result: dict[str, Any]) -> Table:
    listed = table(
        "", "threads ›", "instances ›", "batch ›", "delay ›", "rows/s ›", "p50 ›", "p99 ›",
        title=f"{result['model']} version {result['version']}, {result['concurrency']} callers",
    )  # fmt: skip
    best = result["best"]["candidate"]
    for trial in trials:
        way = trial["candidate"]
        mark = "[green]✓[/]" if way == best else ""
        fits = "" if trial["fits"] else "[yellow]"
        listed.add_row(
            mark,
            *(_way(way)),
            f"{trial['rows_per_s']:.0f}",
            f"{trial['p50_ms']:.2f} ms",
            f"{fits}{trial['p99_ms']:.2f} ms",
        )
    return listed


def _way(candidate: dict[str, Any] | None) -> tuple[str, str, str, str]:
    if candidate is None:
        return ("as", "it is", "served", "now")
    delay = f"{candidate['delay_us']} µs" if candidate["delay_us"] else "–"
    size = str(candidate["max_batch_size"] or "–")
    return str(candidate["threads"]), str(candidate["instances"]), size, delay


def _described(trial: dict[str, Any]) -> str:
    threads, instances, size, delay = _way(trial["candidate"])
    way = f"{threads} threads × {instances}, batch {size}, delay {delay}"
    if trial["candidate"] is None:
        way = "as it is served now"
    return f"{way}: {trial['rows_per_s']:.0f} rows/s, p99 {trial['p99_ms']:.2f} ms"


def _conclude(result: dict[str, Any]) -> None:
    before, best = result["before"], result["best"]
    if not best["fits"]:
        people.print(
            f"[yellow]no way of serving keeps p99 within {result['p99_ms']:g} ms[/]; the nearest "
            f"is {best['p99_ms']:.2f} ms"
        )
    if best["candidate"] is None:
        people.print("[green]it is served best as it is[/]; nothing is written")
        return
    faster = best["rows_per_s"] / before["rows_per_s"]
    people.print(
        f"{faster:.2f} × the rows per second of before, p99 {before['p99_ms']:.2f} → "
        f"{best['p99_ms']:.2f} ms"
    )
    people.print("config.pbtxt written:" if result["is_written"] else "config.pbtxt, not written:")
    people.print(escape(result["config"].rstrip()), style="dim")
