"""Handwritten digits written over photographs, and a sentence that says which are where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from trainer.data.dataset import Array, Dataset, DatasetInfo, Split
from trainer.data.digits import load_mnist_5k
from trainer.data.scenes import PHOTOGRAPHS, SIDE, SOURCE, photograph, tone
from trainer.data.variation import varied_digit, varied_photograph

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CORNERS = ("top left", "top right", "bottom left", "bottom right")
"""In the order in which a caption tells what is there."""

DIGIT = 28  # pixels
_JITTER = 6  # pixels that a digit may be away from its corner
_MOST = 3  # digits
_DIGITS = {"train": 10, "validation": 1, "test": 2}
"""Parts of all handwritten digits that a part of the scenes draws from."""
_PHOTOGRAPHS = {
    **PHOTOGRAPHS,
    "train": (*PHOTOGRAPHS["train"], "logo", "microaneurysms", "text"),
}
"""With print and drawings, whose strokes are not digits."""

DIGIT_CAPTIONS = DatasetInfo(
    name="digit-captions",
    summary="25 200 photographs with one to three digits written near their corners, and which "
    "digit is where in words; those to learn from are varied",
    source=SOURCE,
    task="captioning",
    input_name="image",
    input_shape=(1, SIDE, SIDE),
    units="intensity, 0 is black and 1 is white",
    value_range=(0.0, 1.0),
    class_labels=(),
    split_sizes={"train": 24_000, "validation": 400, "test": 800},
)


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it.

    Attributes:
        picture: (SIDE, SIDE) float32 in 0..1.
        digits: by the number of their corner.
        boxes: top, left, bottom, right of each, in pixels, the last two behind the end.
    """

    picture: Array
    digits: dict[int, int]
    boxes: dict[int, tuple[int, int, int, int]]

    @property
    def caption(self) -> str:
        """Such as `three top left, seven bottom right`."""
        told = sorted(self.digits.items())
        return ", ".join(f"{NAMES[digit]} {CORNERS[corner]}" for corner, digit in told)


def load_digit_captions() -> Dataset:
    """Pictures, and their captions."""

    def split(scenes: Sequence[Scene]) -> Split:
        pictures = np.stack([scene.picture for scene in scenes])[:, None]
        return Split(pictures, np.array([scene.caption for scene in scenes], dtype=object))

    parts = {part: split(draw_scenes(part)) for part in DIGIT_CAPTIONS.split_sizes}
    _digits.cache_clear()
    return Dataset(DIGIT_CAPTIONS, **parts)


def draw_scenes(part: str) -> list[Scene]:
    """Scenes of a part; always the same. Its photographs and digits are in no other part.

    Those to learn from vary: each digit is turned and sheared a little, each photograph seen from
    some side and distance, with some contrast, as it is or as a negative, and some with print on
    them. Moving whole images would do less, and push digits out that captions still tell of.

    Args:
        part: train, validation or test.
    """
    images, digits = _digits()
    order = np.random.default_rng(0).permutation(len(digits))
    shares = np.array(list(_DIGITS.values()))
    ends = np.cumsum(len(order) * shares // shares.sum())
    number = list(_DIGITS).index(part)
    own = order[ends[number - 1] if number else 0 : ends[number]]
    images, digits = images[own, 0], digits[own]
    photographs = [photograph(name) for name in _PHOTOGRAPHS[part]]
    generator = np.random.default_rng(1 + number)
    return [
        _scene(photographs, images, digits, generator, is_varied=part == "train")
        for _ in range(DIGIT_CAPTIONS.split_sizes[part])
    ]


@cache
def _digits() -> tuple[Array, Array]:
    """Reading them takes longer than all the rest."""
    return load_mnist_5k()


def _scene(
    photographs: list[Array],
    images: Array,
    digits: Array,
    generator: np.random.Generator,
    *,
    is_varied: bool,
) -> Scene:
    beneath = photographs[generator.integers(len(photographs))]
    if is_varied:
        picture = varied_photograph(beneath, SIDE, generator)
    else:
        top, left = (generator.integers(0, size - SIDE + 1) for size in beneath.shape)
        picture = beneath[top : top + SIDE, left : left + SIDE].copy()
    count = 1 + int(generator.integers(_MOST))
    corners = generator.choice(len(CORNERS), count, replace=False)
    written: dict[int, int] = {}
    boxes: dict[int, tuple[int, int, int, int]] = {}
    for corner in sorted(map(int, corners)):
        which = generator.integers(len(digits))
        down, along = divmod(corner, 2)
        moved = generator.integers(0, _JITTER + 1, 2)
        y, x = (
            int(SIDE - DIGIT - shift if far else shift)
            for far, shift in zip((down, along), moved, strict=True)
        )
        place = np.s_[y : y + DIGIT, x : x + DIGIT]
        there = picture[place]
        ink = varied_digit(images[which], generator) if is_varied else images[which]
        picture[place] = there + ink * (tone(there.mean(), generator) - there)
        written[corner], boxes[corner] = int(digits[which]), (y, x, y + DIGIT, x + DIGIT)
    return Scene(picture.astype(np.float32), written, boxes)
