"""`wintergarden demo`."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from wintergarden.cli.journey import ARCHITECTURE, DATASET, Findings, Journey
from wintergarden.cli.local.background import in_background
from wintergarden.cli.output import AsJson, aside, people, print_json, table, waiting
from wintergarden.cli.progress import JobProgress
from wintergarden.client import connect


def demo(
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Where the pictures go.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    address: Annotated[
        str,
        typer.Option(
            "--address",
            "-a",
            metavar="HOST:PORT",
            help="A system that is already up. Default: start one, and stop it at the end.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Grow a digit classifier, serve it, look through it and fool it; a few minutes.

    Starts the whole system on free ports with data of its own, trains LeNet-5
    through the gateway, sends it 1000 requests, explains a digit with SHAP,
    attacks with FGSM, and stops everything. Exits with 0 when all of it held.

    \b
    Examples:
      wintergarden demo
      wintergarden demo --output pictures --seed 1
      wintergarden demo --address 127.0.0.1:8500
    """
    started = time.monotonic()
    if address:
        findings = _travel(address, output, seed, as_json)
    else:
        home = Path(tempfile.mkdtemp(prefix="wintergarden-demo-"))
        try:
            with ExitStack() as running:
                with waiting("starting the system", quiet=as_json):
                    system = running.enter_context(in_background(home))
                findings = _travel(system.address, output, seed, as_json)
                with waiting("stopping the system", quiet=as_json):
                    running.close()
        except BaseException:
            aside.print(f"[dim]logs: {home / 'logs'}[/]", soft_wrap=True)
            raise
        shutil.rmtree(home, ignore_errors=True)
    seconds = time.monotonic() - started
    if as_json:
        print_json(vars(findings) | {"seconds": seconds})
        return
    people.print(_summary(findings))
    for picture in findings.pictures:
        people.print(f"wrote {picture}")
    people.print(f"[green]all held[/], in {seconds:.0f} s")


def _travel(address: str, output: Path, seed: int, as_json: bool) -> Findings:
    def say(step: str) -> None:
        aside.print(f"[bold cyan]›[/] {step}")

    with connect(address) as client:
        if as_json:
            return Journey(client, output).travel(seed=seed)
        with JobProgress(f"{ARCHITECTURE} on {DATASET}", aside) as progress:
            journey = Journey(client, output, say, progress.show)
            findings = journey.train(seed=seed)
        journey.look(findings)
        return findings


def _summary(findings: Findings) -> Table:
    model = findings.model
    summary = table("", "", title=f"{model.name} version {model.version}")
    summary.show_header = False
    under_attack = ", ".join(
        f"{findings.accuracies[epsilon]:.1%} at ε = {epsilon}" for epsilon in (0.2, 0.3)
    )
    rows = {
        "test accuracy": f"{findings.test_accuracy:.1%} of {findings.examples} held-out digits",
        "training": f"{findings.training_s:.0f} s until served",
        "export parity": f"{findings.export_parity:.1e} largest difference from PyTorch",
        "requests served": (
            f"{findings.requests}, {findings.requests_per_s:.0f} per second, "
            f"{findings.requests_accuracy:.1%} right"
        ),
        "SHAP efficiency gap": (
            f"{findings.shap_gap:.1e} after {findings.shap_evaluations} evaluations "
            f"in {findings.shap_s:.1f} s"
        ),
        "accuracy before FGSM": f"{findings.accuracies[0.0]:.1%}",
        "accuracy after FGSM": under_attack,
        "one digit fooled": f"{findings.attack_before} → {findings.attack_after}",
    }
    for name, value in rows.items():
        summary.add_row(f"[dim]{name}[/]", value)
    return summary
