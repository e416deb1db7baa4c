"""What the commands say, to people or to programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON on standard output and nothing else."),
]

people = Console(highlight=False)
# Progress and errors: standard output may be a file or a pipe.
aside = Console(stderr=True, highlight=False)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One document; `indent=None` for one of many lines."""
    typer.echo(json.dumps(jsonable(value), indent=indent, ensure_ascii=False, allow_nan=False))


def jsonable(value: Any) -> Any:
    """`value` in JSON's own types; what JSON has no number for becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: jsonable(getattr(value, f.name)) for f in fields if f.name != "content"}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    return str(value)


@contextmanager
def waiting(what: str, *, quiet: bool = False) -> Iterator[None]:
    """A spinner with the seconds gone by, on a terminal; nothing elsewhere."""
    if quiet or not aside.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=aside, transient=True) as progress:
        progress.add_task(what, total=None)
        yield


def table(*headings: str, title: str | None = None) -> Table:
    """The house's table. A heading that ends in " ›" stands over numbers."""
    made = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for heading in headings:
        numeric = heading.endswith(" ›")
        made.add_column(heading.removesuffix(" ›"), justify="right" if numeric else "left")
    return made


def ago(moment: datetime | None) -> str:
    """`3 min ago`; a dash for what has not happened."""
    if moment is None:
        return "–"
    seconds = (datetime.now(moment.tzinfo) - moment).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
