"""Sequences that a model has written in one call: as text, and where it looked at each token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape as xml

import numpy as np
from rich.markup import escape

from wintergarden.cli.output import people, table
from wintergarden.errors import Unsupported
from wintergarden.text import Vocabulary

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

_ROWS_SHOWN = 10
_CELL, _MARGIN, _PANEL = 18, 110, 160  # pixels


def texts(outputs: Arrays, manifest: Mapping[str, Any]) -> list[str] | None:
    """What the output `tokens` says, a text for each row; None where it is no text."""
    ids, fields = outputs.get("tokens"), _vocabulary(manifest)
    if ids is None or ids.ndim != 2 or ids.dtype.kind not in "iu" or not fields:
        return None
    vocabulary = Vocabulary.from_fields(fields)
    return [vocabulary.text(row) for row in ids]


def tell(written: Sequence[str], outputs: Arrays) -> None:
    """A line for each row, with its score where there is one."""
    scores = outputs.get("scores")
    headings = ["row ›", "text"] if scores is None else ["row ›", "text", "log-probability ›"]
    listed = table(*headings)
    for number, text in enumerate(written[:_ROWS_SHOWN]):
        told = [] if scores is None else [f"{float(scores[number]):.3f}"]
        listed.add_row(str(number), escape(text), *told)
    people.print(listed)
    if len(written) > _ROWS_SHOWN:
        people.print(f"… and {len(written) - _ROWS_SHOWN} more rows; --json or --save")


def save_attention(
    inputs: Arrays, outputs: Arrays, manifest: Mapping[str, Any], directory: Path
) -> list[Path]:
    """Pictures of the output `attention`, [N, T, S]: one for each row, under its number.

    Over a text an alignment of its tokens with those written, as SVG; over a picture a panel for
    each token, as PNG.

    Raises:
        Unsupported: the model has no such output, or Pillow is needed and not there.
    """
    attention, ids = outputs.get("attention"), outputs.get("tokens")
    fields = _vocabulary(manifest)
    if attention is None or attention.ndim != 3 or ids is None or not fields:
        raise Unsupported(
            "there is no picture of this answer: it needs outputs tokens [N, T] and attention "
            f"[N, T, S]; this model answers with {', '.join(outputs)}"
        )
    directory.mkdir(parents=True, exist_ok=True)
    source, target = next(iter(inputs.values())), Vocabulary.from_fields(fields)
    paths = []
    for number, (looked, row) in enumerate(zip(attention, ids, strict=True)):
        count = int(np.count_nonzero(row))
        words = target.decode(row[:count])
        if source.ndim == 4:
            path = directory / f"attention-{number}.png"
            _panels(source[number], looked[:count], words, path)
        else:
            known = Vocabulary.from_fields(manifest["vocabulary"])
            read = source[number][: int(np.count_nonzero(source[number]))]
            path = directory / f"attention-{number}.svg"
            path.write_text(alignment(looked[:count, : len(read)], known.decode(read), words))
        paths.append(path)
    return paths


def alignment(weights: Array, source: Sequence[str], target: Sequence[str]) -> str:
    """An SVG: a row for each token written, a column for each one read, dark where it looked.

    As in Bahdanau et al., "Neural machine translation by jointly learning to align and
    translate", ICLR 2015, figure 3.

    Args:
        weights: (T, S), each row a distribution.
        source: (S,).
        target: (T,).
    """
    width, height = _MARGIN + _CELL * len(source), _MARGIN + _CELL * len(target)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="monospace" font-size="{_CELL - 5}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for s, token in enumerate(source):
        x = _MARGIN + _CELL * s + _CELL * 0.7
        parts.append(
            f'<text transform="translate({x:.1f} {_MARGIN - 5}) rotate(-60)">{_label(token)}</text>'
        )
    for t, (token, row) in enumerate(zip(target, weights, strict=True)):
        y = _MARGIN + _CELL * t
        parts.append(
            f'<text x="{_MARGIN - 6}" y="{y + _CELL * 0.75:.1f}" text-anchor="end">'
            f"{_label(token)}</text>"
        )
        for s, weight in enumerate(row):
            shade = round(255 * (1 - min(max(float(weight), 0.0), 1.0)))
            parts.append(
                f'<rect x="{_MARGIN + _CELL * s}" y="{y}" width="{_CELL}" height="{_CELL}" '
                f'fill="rgb({shade},{shade},255)"><title>{float(weight):.3f}</title></rect>'
            )
    return "\n".join([*parts, "</svg>\n"])


def _panels(image: Array, weights: Array, words: Sequence[str], path: Path) -> None:
    """The picture once for each word, dark where the model did not look.

    As in Xu et al., "Show, attend and tell", ICML 2015, figure 2.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as exc:
        raise Unsupported("writing pictures needs Pillow: pip install pillow") from exc
    low, high = float(image.min()), float(image.max())
    pixels = np.moveaxis((image - low) / max(high - low, 1e-9), 0, -1)  # (H, W, C)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    side = round(weights.shape[1] ** 0.5)
    if side * side != weights.shape[1]:
        raise Unsupported(f"attention over {weights.shape[1]} places, which are no square")
    size = (_PANEL, _PANEL)
    photo = np.asarray(Image.fromarray((255 * pixels).astype(np.uint8)).resize(size), np.float32)
    sheet = Image.new("RGB", (_PANEL * max(len(words), 1), _PANEL + _CELL), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (word, row) in enumerate(zip(words, weights, strict=True)):
        grid = (row / max(float(row.max()), 1e-9)).reshape(side, side).astype(np.float32)
        seen = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
        lit = photo * (0.2 + 0.8 * np.clip(seen, 0, 1))[..., None]
        sheet.paste(Image.fromarray(lit.astype(np.uint8)), (_PANEL * number, _CELL))
        draw.text((_PANEL * number + 4, 2), word or "·", fill="black")
    sheet.save(path)


def _vocabulary(manifest: Mapping[str, Any]) -> Any:
    return manifest.get("target_vocabulary") or manifest.get("vocabulary")


def _label(token: str) -> str:
    return xml(token.replace("\n", "⏎").replace(" ", "␣")) or "·"
