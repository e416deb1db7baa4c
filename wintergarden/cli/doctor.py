"""`wintergarden doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from wintergarden.cli.checks import Patient, Verdict, examine
from wintergarden.cli.local.home import Home
from wintergarden.cli.output import AsJson, people, print_json
from wintergarden.cli.session import HERE, Address

_MARKS = {
    Verdict.OK: "[green]✓[/]",
    Verdict.NOTE: "[yellow]•[/]",
    Verdict.SKIPPED: "[dim]–[/]",
    Verdict.BAD: "[red]✗[/]",
}


def doctor(
    *,
    home: Annotated[
        Path, typer.Option(envvar="WINTERGARDEN_HOME", file_okay=False, help="As of `up`.")
    ] = Path(".wintergarden"),
    redis_url: Annotated[
        str, typer.Option(envvar="REDIS_URL", help="A Redis or Valkey server to look at.")
    ] = "",
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Look for what would keep Wintergarden from working here, and name the cure.

    Exits with 1 when something is wrong. Parts that are not installed here
    are skipped.

    \b
    Examples:
      wintergarden doctor
      wintergarden doctor --redis-url redis://:secret@127.0.0.1:6379/0
      wintergarden doctor --json | jq '.[] | select(.verdict == "bad")'
    """
    findings = []
    for finding in examine(Patient(Home(home.resolve()), address, redis_url)):
        findings.append(finding)
        if as_json:
            continue
        mark, text = _MARKS[finding.verdict], escape(finding.text)
        people.print(f"{mark} [bold]{finding.check}[/]: {text}", soft_wrap=True)
        if finding.cure:
            people.print(f"  [cyan]→ {escape(finding.cure)}[/]", soft_wrap=True)
    if as_json:
        print_json(findings)
    if any(finding.verdict is Verdict.BAD for finding in findings):
        raise typer.Exit(1)
