"""`--set NAME=NUMBER`: what a method can be tuned by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=NUMBER",
        help="A parameter of the method, repeatable; `wintergarden explain --list` shows them.",
    ),
]


def read_numbers(settings: Sequence[str] | None) -> dict[str, float]:
    """The numbers by name.

    Raises:
        BadParameter: no NAME=NUMBER, or a name twice.
    """
    numbers: dict[str, float] = {}
    for setting in settings or ():
        name, _, text = setting.partition("=")
        try:
            value = float(text)
        except ValueError:
            raise typer.BadParameter(f"--set {setting!r}: want NAME=NUMBER, as steps=40") from None
        if name in numbers:
            raise typer.BadParameter(f"--set {name}: given twice")
        numbers[name] = value
    return numbers
