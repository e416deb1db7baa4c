"""A text whose tokens are coloured by what each contributed, as SVG.

The reader's own fonts draw it: a text may be in any script, and a picture of pixels would need a
font for each.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from matplotlib.colors import to_hex

from services.explanation.arrays import Array
from services.explanation.render.style import (
    DIVERGING,
    FAINT,
    INK,
    MUTED,
    PAPER,
    Caption,
    symmetric,
)

MAX_TOKENS = 2000
COLUMNS = 76
_CELL, _LINE = 9.2, 26.0
_LEFT, _TOP, _SCALE = 24.0, 76.0, 160.0


@dataclass(frozen=True)
class _Cell:
    """A token's place: column and line, and how many columns it takes."""

    token: int
    column: int
    line: int
    columns: int


def text_map(
    tokens: Sequence[str],
    values: Array,
    caption: Caption,
    *,
    is_spaced: bool = False,
    marked: Sequence[bool] = (),
) -> bytes:
    """The tokens in their order, from left to right; red speaks for the output, blue against it.

    Args:
        tokens: T; of more than `MAX_TOKENS` the first are shown, and a note says so.
        values: [T].
        caption: The words around it.
        is_spaced: A space stands between the tokens.
        marked: T; tokens with a frame, such as the position that is explained. Empty: none.
    """
    cells = list(_laid_out(tokens[:MAX_TOKENS], is_spaced))
    notes = list(caption.notes)
    if len(tokens) > MAX_TOKENS:
        notes.insert(0, f"the first {MAX_TOKENS} of {len(tokens)} tokens")
    scale = symmetric(values)
    bottom = _TOP + _LINE * (1 + max((cell.line for cell in cells), default=0))
    width = 2 * _LEFT + COLUMNS * _CELL
    height = bottom + 52 + 18 * len(notes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">',
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
        _line(_LEFT, 32, caption.title, size=18, colour=INK, weight="bold"),
        _line(_LEFT, 54, caption.subtitle, size=13),
    ]
    for cell in cells:
        colour = to_hex(DIVERGING(scale(float(values[cell.token]))))
        is_marked = bool(len(marked)) and bool(marked[cell.token])
        parts += _drawn(cell, tokens[cell.token], float(values[cell.token]), colour, is_marked)
    parts += _colour_bar(bottom + 8, float(scale.vmax or 1.0), caption.legend)
    parts += [
        _line(_LEFT, bottom + 56 + 18 * index, note, size=11) for index, note in enumerate(notes)
    ]
    return "\n".join([*parts, "</svg>\n"]).encode()


def _laid_out(tokens: Sequence[str], is_spaced: bool) -> Iterator[_Cell]:
    column = line = 0
    for number, token in enumerate(tokens):
        columns = min(COLUMNS, max(1, sum(map(_columns, _shown(token)))))
        if column + columns > COLUMNS:
            column, line = 0, line + 1
        yield _Cell(number, column, line, columns)
        column += columns + is_spaced
        if "\n" in token:
            column, line = 0, line + 1


def _columns(sign: str) -> int:
    """Of a terminal: two for what is wide, none for what is put on the sign before."""
    if unicodedata.category(sign) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _shown(token: str) -> str:
    """With signs for what has none, and nothing that XML cannot hold."""
    named = token.replace("\n", "⏎").replace("\t", "⇥")
    return "".join(
        "�" if unicodedata.category(sign) in ("Cc", "Cs", "Cn") else sign for sign in named
    )


def _drawn(cell: _Cell, token: str, value: float, colour: str, is_marked: bool) -> Iterator[str]:
    left, top = _LEFT + cell.column * _CELL, _TOP + cell.line * _LINE
    wide = cell.columns * _CELL
    frame = f' stroke="{INK}" stroke-width="1.5"' if is_marked else ""
    ink = PAPER if _is_dark(colour) else INK
    yield (
        f"<g><title>{escape(_shown(token))}: {value:+.4g}</title>"
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{_LINE - 3:.0f}" '
        f'fill="{colour}"{frame}/>'
        f'<text x="{left + wide / 2:.1f}" y="{top + 16.5:.1f}" font-family="monospace" '
        f'font-size="15" fill="{ink}" text-anchor="middle" xml:space="preserve">'
        f"{escape(_shown(token))}</text></g>"
    )


def _is_dark(colour: str) -> bool:
    """By Rec. 601's luma."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 110


def _colour_bar(top: float, limit: float, legend: str) -> Iterator[str]:
    steps = 16
    for step in range(steps):
        colour = to_hex(DIVERGING((step + 0.5) / steps))
        left = _LEFT + step * _SCALE / steps
        yield (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{_SCALE / steps + 0.5:.1f}" height="10" '
            f'fill="{colour}"/>'
        )
    yield (
        f'<rect x="{_LEFT}" y="{top:.1f}" width="{_SCALE}" height="10" fill="none" '
        f'stroke="{FAINT}"/>'
    )
    yield _line(_LEFT, top + 24, f"−{limit:.3g}", size=10)
    yield _line(_LEFT + _SCALE - 30, top + 24, f"+{limit:.3g}", size=10)
    yield _line(_LEFT + _SCALE + 16, top + 10, legend, size=12, colour=INK)


def _line(
    left: float, top: float, text: str, *, size: int, colour: str = MUTED, weight: str = "normal"
) -> str:
    return (
        f'<text x="{left:.1f}" y="{top:.1f}" font-family="sans-serif" font-size="{size}" '
        f'font-weight="{weight}" fill="{colour}">{escape(_shown(text))}</text>'
    )
