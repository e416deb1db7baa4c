"""`wintergarden generate`."""

from __future__ import annotations

import io
import math
import random
import sys
from codecs import getincrementaldecoder
from collections.abc import Iterable
from time import monotonic
from typing import Annotated, BinaryIO

import typer
from rich.style import Style
from rich.text import Text

from wintergarden.cli.output import AsJson, aside, people, print_json
from wintergarden.cli.session import HERE, Address, session
from wintergarden.client import Piece, SamplingOptions
from wintergarden.errors import InvalidArgument

_SEEDS = 2**31


def generate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A language model.", show_default=False)
    ],
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT",
            show_default=False,
            help="What to go on with; - reads it from stdin.",
        ),
    ] = "",
    *,
    version: Annotated[int, typer.Option(min=0, help="0 is the latest.")] = 0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=1, help="End after so many tokens.")
    ] = 256,
    temperature: Annotated[
        float,
        typer.Option("--temperature", "-t", min=0, help="0: the most probable token, always."),
    ] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Choose among so many; 0: among all.")] = 0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, help="Choose among those that have so much together.")
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option(help="The same one writes the same text.", show_default="random")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; repeat it.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Colour each piece: red was a surprise.")
    ] = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", help="Seconds for it all.", show_default="none")
    ] = None,
    address: Address = HERE,
    as_json: AsJson = False,
) -> None:
    """Have a language model write, and see it as it comes.

    A character at a time, or whatever the model's tokens are. The text goes to
    standard output, and nothing else does; Ctrl-C stops the writing at the
    server too. With --json, one line of JSON for each token.

    \b
    Examples:
      wintergarden generate lstm-python-source "def main("
      wintergarden generate lstm-python-source "class " -n 500 -t 0.5 --seed 7
      wintergarden generate char-transformer-python-source --top-p 0.9 --stop def
      head -c 200 program.py | wintergarden generate lstm-python-source - > more.py
    """
    if prompt == "-":
        prompt = _read(sys.stdin.buffer)
    options = SamplingOptions(
        max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, stop=stop or []
    )
    options["seed"] = random.randrange(_SEEDS) if seed is None else seed
    with session(address) as client:
        pieces = client.generate(model, prompt, version=version, timeout_s=timeout_s, **options)
        if as_json:
            for piece in pieces:
                print_json(piece, indent=None)
            return
        if people.is_terminal:
            people.print(Text(prompt, style="dim"), end="", soft_wrap=True)
        _show(pieces, options["seed"], is_coloured=probabilities)


def _read(file: BinaryIO) -> str:
    """A text, without the last character where that was cut in two, as `head -c` may."""
    decoder = io.IncrementalNewlineDecoder(getincrementaldecoder("utf-8")(), translate=True)
    try:
        return decoder.decode(file.read())
    except UnicodeDecodeError as exc:
        raise InvalidArgument(f"standard input: not UTF-8: {exc}") from exc


def _show(pieces: Iterable[Piece], seed: int, *, is_coloured: bool) -> None:
    started, first_s, count, reason = monotonic(), 0.0, 0, ""
    try:
        for piece in pieces:
            first_s = first_s or monotonic() - started
            count += 1
            reason = piece.finish_reason
            style = _surprise(piece.log_probability) if is_coloured else Style.null()
            if people.is_terminal:
                people.print(Text(piece.text, style=style), end="", soft_wrap=True)
            else:
                typer.echo(piece.text, nl=False)
            people.file.flush()
    finally:
        if people.is_terminal:
            people.print()
    seconds = max(monotonic() - started, 1e-9)
    if aside.is_terminal:
        ended = "at its end" if reason == "stop" else "at --max-tokens"
        aside.print(
            f"[dim]{count} tokens, {ended}; the first after {1e3 * first_s:.0f} ms, "
            f"{count / seconds:.0f} a second; --seed {seed} writes it again[/]"
        )


def _surprise(log_probability: float | None) -> Style:
    """White where the token was certain, red where it had a thousandth or less."""
    if log_probability is None:
        return Style.null()
    strength = round(255 * (1 - min(-log_probability / math.log(1000), 1.0)))
    return Style.parse(f"rgb(0,0,0) on rgb(255,{strength},{strength})")
