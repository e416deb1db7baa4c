"""All commands, and what becomes of their errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

import wintergarden
from wintergarden.cli import (
    analyse,
    attack,
    data,
    demo,
    doctor,
    explain,
    generate,
    infer,
    jobs,
    models,
    robustness,
    search,
    train,
    tune,
    up,
)
from wintergarden.cli.output import aside
from wintergarden.errors import WintergardenError

app = typer.Typer(
    name="wintergarden",
    help="Grow neural networks, put them on show, look through them.",
    epilog="A first walk: wintergarden demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(wintergarden.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    pass


_RUN, _GROW, _LOOK = "The system", "Training and models", "Predictions and explanations"
app.command(rich_help_panel=_RUN)(up.up)
app.command(rich_help_panel=_RUN)(demo.demo)
app.command(rich_help_panel=_RUN)(doctor.doctor)
app.command(rich_help_panel=_GROW)(train.train)
app.command(rich_help_panel=_GROW)(search.search)
app.add_typer(data.app, name="data", rich_help_panel=_GROW)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_GROW)
app.add_typer(models.app, name="models", rich_help_panel=_GROW)
app.command(rich_help_panel=_GROW)(tune.tune)
app.command(rich_help_panel=_LOOK)(infer.infer)
app.command(rich_help_panel=_LOOK)(generate.generate)
app.command(rich_help_panel=_LOOK)(explain.explain)
app.command(rich_help_panel=_LOOK)(attack.attack)
app.command(rich_help_panel=_LOOK)(robustness.robustness)
app.command(rich_help_panel=_LOOK)(robustness.harden)
app.command(rich_help_panel=_LOOK)(analyse.analyse)


def run() -> None:
    """Exit status: 0 done, 1 failed (one line on standard error says why), 2 wrong usage."""
    try:
        app()
    except WintergardenError as exc:
        aside.print(f"[bold red]error[/] {escape(exc.message)}", soft_wrap=True)
        sys.exit(1)
    except OSError as exc:  # a file the person named; its text says which
        aside.print(f"[bold red]error[/] {escape(str(exc))}", soft_wrap=True)
        sys.exit(1)
