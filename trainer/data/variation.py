"""Views of digits and photographs that are as true as the one there is."""

from __future__ import annotations

import math

import numpy as np

from trainer.data.dataset import Array

MAX_ROTATION_DEGREES = 15.0
MAX_SHEAR = 0.15
MAX_SCALE = 0.15
LEAST_CONTRAST = 0.3


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


def varied_photograph(picture: Array, generator: np.random.Generator) -> Array:
    """Turned by right angles, mirrored, flatter and perhaps a negative.

    Args:
        picture: (SIDE, SIDE) in 0..1, as what is returned is.
        generator: of the choices.
    """
    picture = np.rot90(picture, int(generator.integers(4)))
    if generator.integers(2):
        picture = picture[:, ::-1]
    if generator.integers(2):
        picture = 1 - picture
    mean = picture.mean()
    contrast = generator.uniform(LEAST_CONTRAST, 1)
    varied: Array = mean + contrast * (picture - mean)
    return varied
