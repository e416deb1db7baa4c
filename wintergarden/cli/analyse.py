"""`wintergarden analyse`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from wintergarden.cli.output import AsJson, jsonable, people, print_json, table, waiting
from wintergarden.cli.pictures import PicturesDirectory, save_pictures
from wintergarden.cli.session import HERE, Address, session
from wintergarden.client import Analysis, Client, Measured
from wintergarden.errors import InvalidArgument, WintergardenError
from wintergarden.wire.tensors import dtype_of

_MANY_ROWS = 32
_LENGTH = 32


def analyse(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Default: all that are served.")
    ] = None,
    *,
    length: Annotated[
        int, typer.Option(min=1, help="Steps of a sequence, or any other size left open.")
    ] = _LENGTH,
    lengths: Annotated[
        str,
        typer.Option(
            metavar="N,N,…", help="Several: how operations and latency grow with the sequence."
        ),
    ] = "",
    seconds: Annotated[
        float, typer.Option(min=0, help="Of each measurement; 0 measures nothing.")
    ] = 1.0,
    pictures: PicturesDirectory = None,
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the numbers to this .json file.")
    ] = None,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Compare what models cost with what they are worth.

    Counts parameters, arithmetic operations and bytes of activations of the
    graphs that are served, and has the inference service run them: latency is
    that of requests of one row, speed that of requests of 32, both as the
    service itself has measured them. The chart is that of Canziani et al., 2016.

    With --lengths, models that take sequences are counted and measured at
    each length; a second chart shows how they grow.

    \b
    Examples:
      wintergarden analyse --pictures demo
      wintergarden analyse lenet5-mnist-5k mlp-mnist-5k
      wintergarden analyse my-lstm --length 200 --json
      wintergarden analyse my-lstm my-transformer --lengths 16,64,256 --pictures demo
    """
    sweep = _lengths(lengths) or [length]
    with session(address) as client:
        names = models or sorted({e.name for e in client.index() if e.state == "READY"})
        if not names:
            raise InvalidArgument("no model is served; `wintergarden train lenet5 mnist-5k`")
        measured: list[Measured] = []
        for name in names:
            with waiting(f"measuring {name}", quiet=as_json):
                measured += _measure(client, name, sweep, seconds)
        with waiting("counting", quiet=as_json):
            answer = client.analyse(measured, render=pictures is not None)
    saved = save_pictures(answer.pictures, pictures)
    told = {"models": answer.models, "pictures": saved}
    if save:
        save.write_text(json.dumps(jsonable(told), indent=2))
    if as_json:
        print_json(told)
        return
    _tell(answer.models)
    for path in (*saved, *([save] if save else [])):
        people.print(f"wrote {path}")


def _lengths(text: str) -> list[int]:
    """`16,64` as numbers."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"--lengths {text!r}: want numbers of 1 or more: 16,64,256")
    return sorted({int(part) for part in parts})


def _measure(
    client: Client, name: str, lengths: Sequence[int], seconds: float
) -> Iterator[Measured]:
    """What the service says of its own requests while it gets some, at each length.

    A model that leaves no axis open is the same at all of them, so the first is enough.
    """
    try:
        inputs = client.models.describe(name).manifest["inputs"]
        is_open = any(size < 0 for tensor in inputs for size in tensor["shape"][1:])
        for length in lengths if is_open else lengths[:1]:
            if not seconds:
                yield Measured(name, length=length)
                continue
            one = _ask(client, name, _example(inputs, 1, length), seconds)
            many = _ask(client, name, _example(inputs, _MANY_ROWS, length), seconds)
            yield Measured(name, 0, 1e3 * one[0], many[1], length)
    except WintergardenError as error:
        people.print(f"[yellow]{escape(name)} was not measured[/]: {escape(error.message)}")
        yield Measured(name, length=lengths[0])


def _ask(
    client: Client, name: str, inputs: Mapping[str, Any], seconds: float
) -> tuple[float, float]:
    """Seconds of a request, and rows for each second that the model ran."""
    client.infer(name, inputs)  # the first run of a size is no measure
    before = client.statistics(name)
    until = time.monotonic() + seconds
    while True:
        client.infer(name, inputs)
        if time.monotonic() >= until:
            break
    after = client.statistics(name)
    requests, run_s = after.requests - before.requests, after.run_s - before.run_s
    if requests <= 0 or run_s <= 0:  # another version has come in between
        return 0.0, 0.0
    return (after.request_s - before.request_s) / requests, (after.rows - before.rows) / run_s


def _example(inputs: list[Mapping[str, Any]], rows: int, length: int) -> dict[str, Any]:
    """Random rows that a model takes: within its valid range, whole numbers 0 or 1."""
    rng = np.random.default_rng(0)
    arrays = {}
    for tensor in inputs:
        shape = [rows, *(length if size < 0 else size for size in tensor["shape"][1:])]
        dtype = dtype_of(tensor["datatype"], tensor["name"])
        low, high = tensor.get("value_range") or (0.0, 1.0)
        if dtype.kind == "O":
            array = np.full(shape, b"the quick brown fox jumps over the lazy dog", object)
        elif dtype.kind in "iub":
            array = rng.integers(0, 2, shape).astype(dtype)
        else:
            array = (low + (high - low) * rng.random(shape)).astype(dtype)
        arrays[tensor["name"]] = array
    return arrays


def _tell(models: tuple[Analysis, ...]) -> None:
    has_lengths = any(m.has_open_axes for m in models)
    listed = table(
        "model", *(["length ›"] if has_lengths else []), "parameters ›", "operations ›",
        "activations ›", "at once ›", "quality ›", "one row ›", "rows/s ›",
    )  # fmt: skip
    for m in models:
        listed.add_row(
            f"{escape(m.model.name)} [dim]{m.model.version}[/]",
            *([str(m.length) if m.has_open_axes else "–"] if has_lengths else []),
            _short(m.parameters),
            _short(m.operations) + ("+" if m.uncounted else ""),
            f"{_short(m.activation_bytes)}B",
            f"{_short(m.peak_activation_bytes)}B",
            f"{m.quality:.1%}" if m.quality_metric else "–",
            f"{m.latency_ms:.2f} ms" if m.latency_ms else "–",
            _short(m.rows_per_s) if m.rows_per_s else "–",
        )
    people.print(listed)
    for m in {m.model.name: m for m in models}.values():
        if m.problem:
            people.print(f"[yellow]{escape(m.model.name)}[/]: {escape(m.problem)}")
        if m.uncounted:
            people.print(
                f"[dim]{escape(m.model.name)}: not counted, or once: {', '.join(m.uncounted)}[/]"
            )


def _short(number: float) -> str:
    """Three digits: 61.7 k, 1.2 G."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g} "
