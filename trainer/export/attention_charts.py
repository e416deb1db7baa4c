"""Where a network looked while it wrote, as pictures for its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.dataset import Array, DatasetInfo
from trainer.decoding.compose import LENGTHS, TOKENS
from trainer.decoding.parts import ATTENTION
from trainer.export.charts import Chart, png
from trainer.zoo.vocabularies import target_vocabulary
from wintergarden.text import PADDING, Vocabulary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 3
_MAX_WORDS = 12


def alignments(info: DatasetInfo, source: Array, answers: Mapping[str, Array]) -> list[Chart]:
    """Of some examples, or of one picture.

    Args:
        info: of the data, for the vocabularies.
        source: (N, S) ids or (N, C, H, W) pictures.
        answers: of the whole graph: tokens, lengths and attention.
    """
    target = target_vocabulary(info)
    if info.vocabulary is None:
        return [_over_a_picture(source[0], answers, target)]
    return [_matrices(info.vocabulary, source[:SHOWN], answers, target)]


def words(vocabulary: Vocabulary, tokens: Array, length: int) -> list[str]:
    """Names of written tokens, for axes; the end is ■."""
    named = vocabulary.decode(tokens[:length].tolist())
    return [
        "■" if number == vocabulary.end else name.replace(" ", "␣")
        for name, number in zip(named, tokens, strict=False)
    ]


def _matrices(
    vocabulary: Vocabulary, source: Array, answers: Mapping[str, Array], target: Vocabulary
) -> Chart:
    def paint(axes: Iterator[Axes]) -> None:
        for row, (ax, ids) in enumerate(zip(axes, source, strict=True)):
            size, length = int((ids != PADDING).sum()), int(answers[LENGTHS][row])
            ax.imshow(answers[ATTENTION][row, :length, :size], cmap="Greys", vmin=0, aspect="auto")
            ax.set_xticks(range(size), words(vocabulary, ids, size), fontsize=7)
            written = words(target, answers[TOKENS][row], length)
            ax.set_yticks(range(length), written, fontsize=7)
            ax.set_xlabel("read")
            ax.set_ylabel("written")

    caption = "where it looked (dark) in the source for each token that it wrote; held-out examples"
    return Chart("attention.png", caption, png(paint, len(source), 4.2))


def _over_a_picture(image: Array, answers: Mapping[str, Array], target: Vocabulary) -> Chart:
    length = min(_MAX_WORDS, int(answers[LENGTHS][0]))
    names = words(target, answers[TOKENS][0], length)
    height, width = image.shape[1:]
    places = answers[ATTENTION].shape[2]
    side = round(np.sqrt(places * width / height))  # places that are beside each other

    def paint(axes: Iterator[Axes]) -> None:
        for number, (ax, name) in enumerate(zip(axes, names, strict=True)):
            looked = answers[ATTENTION][0, number].reshape(-1, side)
            where = (-0.5, width - 0.5, height - 0.5, -0.5)
            shown = image[0] if len(image) == 1 else image[:3].transpose(1, 2, 0)
            ax.imshow(shown, cmap="gray", extent=where)
            ax.imshow(looked, cmap="hot", alpha=0.55, vmin=0, extent=where)
            ax.set_title(name, fontsize=9)
            ax.set_axis_off()

    caption = "where it looked (bright) while it wrote each word; a held-out picture"
    return Chart("attention.png", caption, png(paint, len(names), 2.4, 1.8))
