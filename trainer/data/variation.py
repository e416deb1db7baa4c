"""Views of digits and photographs that are as true as the one there is."""

from __future__ import annotations

import math

import numpy as np

from trainer.data.dataset import Array

# How far hands differ: here of one digit on a scene, in `recipes.augmentation` of whole images.
MAX_ROTATION_DEGREES = 15.0
MAX_SHEAR = 0.15
MAX_SCALE = 0.15

LEAST_CONTRAST = 0.3
MAX_DISTANCE = 2.5  # a pixel stands for so many, along and down
PRINTED = 0.25  # share of the photographs
LETTERS = "abcdefghijklmnopqrstuvwxyz     "


def varied_digit(ink: Array, generator: np.random.Generator) -> Array:
    """Turned, sheared and scaled a little about its centre, as another hand would write it.

    Args:
        ink: (H, W) in 0..1; what comes in from outside is 0.
        generator: of the amounts.
    """
    from PIL import Image

    angle = math.radians(generator.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES))
    scale = 1 + generator.uniform(-MAX_SCALE, MAX_SCALE)
    shear = generator.uniform(-MAX_SHEAR, MAX_SHEAR)
    turn = np.array(
        [[math.cos(angle), shear - math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    centre = (np.array(ink.shape[::-1]) - 1) / 2
    turn /= scale
    # Where each pixel is taken from; Pillow counts from pixels' corners, and along before down.
    shift = centre - turn @ centre + 0.5 - turn @ [0.5, 0.5]
    places = (*turn[0], shift[0], *turn[1], shift[1])
    image = Image.fromarray(ink.astype(np.float32))
    moved = image.transform(image.size, Image.Transform.AFFINE, places, Image.Resampling.BILINEAR)
    return np.asarray(moved, np.float64)


def varied_photograph(photograph: Array, side: int, generator: np.random.Generator) -> Array:
    """A square of it: nearer or farther, turned by right angles, mirrored, flatter, perhaps a
    negative, perhaps with print on it.

    Args:
        photograph: (H, W) in 0..1, H and W at least `side`.
        side: of what is returned, (side, side) in 0..1.
        generator: of the choices.
    """
    from PIL import Image

    farthest = min(MAX_DISTANCE, min(photograph.shape) / side)
    seen = round(side * generator.uniform(1, farthest))
    top, left = (generator.integers(0, size - seen + 1) for size in photograph.shape)
    picture = photograph[top : top + seen, left : left + seen]
    if seen > side:
        image = Image.fromarray(picture.astype(np.float32))
        picture = np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float64)
    if generator.random() < PRINTED:
        picture = _printed(picture, generator)
    picture = np.rot90(picture, int(generator.integers(4)))
    if generator.integers(2):
        picture = picture[:, ::-1]
    if generator.integers(2):
        picture = 1 - picture
    mean = picture.mean()
    contrast = generator.uniform(LEAST_CONTRAST, 1)
    varied: Array = mean + contrast * (picture - mean)
    return varied


def _printed(picture: Array, generator: np.random.Generator) -> Array:
    """Lines of letters in one tone over all of it."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = picture.shape
    size = int(generator.integers(8, 20))  # pixels from line to line
    ink = Image.new("L", (width, height))
    draw, font = ImageDraw.Draw(ink), ImageFont.load_default(size)
    for y in range(-int(generator.integers(size)), height, size):
        letters = "".join(generator.choice(list(LETTERS), 2 * width // size))
        draw.text((-int(generator.integers(size)), y), letters, 255, font)
    tone = generator.uniform(0, 1)
    printed: Array = picture + np.asarray(ink) / 255 * (tone - picture)
    return printed
