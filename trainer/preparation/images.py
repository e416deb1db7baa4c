"""Pictures in a ZIP archive, a folder for each class."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from trainer.data.dataset import Array
from trainer.preparation.archive import Archive, Entry, opened
from trainer.preparation.examples import Examples, Tick, encode_classes
from trainer.preparation.folders import place
from trainer.preparation.limits import MAX_PIXELS, MAX_PREPARED_BYTES
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

MAX_FILE_BYTES = 64 * 2**20
SUFFIXES = (".png", ".jpg", ".jpeg")
UNITS = "intensity, 0 is black and 1 is white"
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")
_CLEAR = ("LA", "PA", "RGBA", "La", "RGBa")
_LOOKING = 0.4
"""Share of the reading that the first look at every picture takes."""


def read_images(path: Path, options: PreparationOptions, tick: Tick) -> Examples:
    """The pictures (N, C, H, W) uint8 of an archive, C being 1 or 3.

    Raises:
        InvalidArgument: no such archive, a picture that cannot be read, or sizes that differ.
    """
    with opened(path) as archive:
        placed, parts, ignored = place(archive, SUFFIXES, "PNG and JPEG pictures")
        labels, class_labels = encode_classes([file.class_label for file in placed])
        inputs, details, warnings = read_pictures(
            archive, [file.entry for file in placed], options, tick
        )
    if ignored:
        left_out = f"{len(ignored)} files are no pictures and were left out: {ignored[0]} …"
        warnings = [left_out, *warnings]
    return Examples(
        task="image-classification",
        inputs=inputs,
        labels=labels,
        class_labels=class_labels,
        input_name="image",
        units=options.units or UNITS,
        value_range=(0.0, 1.0),
        parts=parts,
        details=details,
        warnings=warnings,
    )


def read_pictures(
    archive: Archive, entries: list[Entry], options: PreparationOptions, tick: Tick
) -> tuple[Array, dict[str, Any], list[str]]:
    """Pictures (N, C, H, W) uint8 of one size, what the report says of them, and its warnings.

    Raises:
        InvalidArgument: a picture that cannot be read, sizes that differ, or too much of it.
    """
    looks = looks_at(archive, entries, tick)
    sizes = Counter(size for size, _, _ in looks)
    height, width = common_size(sizes, options)
    channels = channels_of([is_grey for _, is_grey, _ in looks], options.color)
    size = len(entries) * channels * height * width
    if size > MAX_PREPARED_BYTES:
        raise InvalidArgument(
            f"{len(entries)} pictures of {width}x{height} take {size} bytes; at most "
            f"{MAX_PREPARED_BYTES} are allowed"
        )
    inputs = np.empty((len(entries), channels, height, width), np.uint8)
    for index, entry in enumerate(entries):
        inputs[index] = decode(archive, entry, (height, width), channels)
        tick(_LOOKING + (1 - _LOOKING) * index / len(entries))
    warnings = []
    if see_through := sum(is_clear for _, _, is_clear in looks):
        warnings.append(f"{see_through} pictures are partly transparent; that was dropped")
    details = {
        "sizes": {f"{w}x{h}": count for (h, w), count in sizes.most_common(20)},
        "is_resized": set(sizes) != {(height, width)},
        "grey_pictures": sum(is_grey for _, is_grey, _ in looks),
    }
    return inputs, details, warnings


def looks_at(
    archive: Archive, entries: list[Entry], tick: Tick
) -> list[tuple[tuple[int, int], bool, bool]]:
    """Of each picture (height, width), whether it is grey, whether it has transparency."""
    looks = []
    for index, entry in enumerate(entries):
        with opened_picture(archive, entry) as image, reading(entry):
            width, height = image.size
            if image.getexif().get(0x0112) in (5, 6, 7, 8):  # turned on its side
                width, height = height, width
            is_clear = image.mode in _CLEAR or "transparency" in image.info
            looks.append(((height, width), image.mode in _GREY, is_clear))
        tick(_LOOKING * index / len(entries))
    return looks


def opened_picture(archive: Archive, entry: Entry) -> ImageFile:
    """The picture of an entry, not decoded yet.

    Raises:
        InvalidArgument: it is no PNG or JPEG, or too large.
    """
    if entry.bytes > MAX_FILE_BYTES:
        raise InvalidArgument(
            f"{str(entry.path)!r:.120} has {entry.bytes} bytes; at most {MAX_FILE_BYTES} are "
            "allowed"
        )
    content = archive.read(entry)
    Image.MAX_IMAGE_PIXELS = None  # the check below is ours, and for every picture
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's parsers raise whatever they stumble over
        raise InvalidArgument(
            f"{str(entry.path)!r:.120} is no PNG or JPEG picture that can be read"
        ) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InvalidArgument(
            f"{str(entry.path)!r:.120} has {width}x{height} pixels; at most {MAX_PIXELS} are "
            "allowed: make it smaller first"
        )
    return image


@contextmanager
def reading(entry: Entry) -> Iterator[None]:
    """Whatever Pillow stumbles over becomes an InvalidArgument that names the entry."""
    try:
        yield
    except (MemoryError, InvalidArgument):
        raise
    except Exception as error:  # as above
        raise InvalidArgument(f"{str(entry.path)!r:.120} is damaged: {error}") from error


def common_size(sizes: Counter[tuple[int, int]], options: PreparationOptions) -> tuple[int, int]:
    """(height, width) that was asked for, else that of all pictures.

    Raises:
        InvalidArgument: they have several.
    """
    if options.height is not None and options.width is not None:
        return options.height, options.width
    if len(sizes) > 1:
        found = ", ".join(f"{w}x{h} ({count})" for (h, w), count in sizes.most_common(5))
        more = f" and {len(sizes) - 5} more" if len(sizes) > 5 else ""
        raise InvalidArgument(
            f"the pictures have {len(sizes)} sizes: {found}{more}; have them resized with the "
            "options height and width",
            field="options.height",
        )
    return next(iter(sizes))


def channels_of(is_grey: list[bool], color: str) -> int:
    """1 or 3, as was asked for or as the pictures are."""
    if color == "auto":
        return 1 if all(is_grey) else 3
    return 1 if color == "grey" else 3


def decode(archive: Archive, entry: Entry, size: tuple[int, int], channels: int) -> Array:
    """The picture (C, H, W) uint8."""
    height, width = size
    with opened_picture(archive, entry) as image, reading(entry):
        image.load()
        upright = ImageOps.exif_transpose(image)
    plain = _eight_bit(upright).convert("L" if channels == 1 else "RGB")
    if plain.size != (width, height):
        plain = plain.resize((width, height), Image.Resampling.LANCZOS)
    pixels: Array = np.asarray(plain, np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _eight_bit(image: Any) -> Any:
    """Pillow cuts pictures of 16 bits off at 255 where they are converted."""
    if not image.mode.startswith("I"):
        return image
    deep = np.asarray(image).astype(np.int64).clip(0, 2**16 - 1)
    return Image.fromarray((deep >> 8).astype(np.uint8))
