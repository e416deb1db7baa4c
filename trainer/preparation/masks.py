"""Pictures and their masks in a ZIP archive: `images/a.jpg` beside `masks/a.png`.

A mask is a grey picture or one with a palette, of its picture's size, whose numbers are classes, as
they are in the file, be it in 1, 2, 4 or 8 bits.
`classes.txt` names them, a line each in the order of their numbers; where it names as many as there
are numbers in the masks, these may be any, such as 0 and 255.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.data.dataset import Array
from trainer.preparation.archive import Archive, Entry, opened
from trainer.preparation.examples import PART_NAMES, Examples, Tick, encode_masks
from trainer.preparation.images import (
    SUFFIXES,
    channels_of,
    common_size,
    decode,
    looks_at,
    opened_picture,
    reading,
)
from trainer.preparation.limits import MAX_EXAMPLES, MAX_PREPARED_BYTES
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

IMAGES, MASKS, CLASSES = ("images", "imgs", "pictures"), ("masks", "labels"), "classes.txt"
_LAYOUT = (
    "the layout is images/NAME.jpg and masks/NAME.png, or train/images/NAME.jpg, train/masks/"
    "NAME.png and the same below test"
)
_BITS = {"1": 1, "L;2": 2, "L;4": 4, "L": 8}
"""Of what Pillow calls the kinds of grey; of the first three it makes 255 out of the most."""
_READ = 0.9
"""Share of the reading that the pictures take; the masks are small."""


@dataclass(frozen=True)
class _Pair:
    picture: Entry
    mask: Entry
    part: int | None


def read_masks(path: Path, options: PreparationOptions, tick: Tick) -> Examples:
    """The pictures (N, C, H, W) uint8 of an archive, and the class of each pixel (N, H, W) uint8.

    Raises:
        InvalidArgument: no such archive, a picture without its mask, or a mask that is none.
    """
    with opened(path) as archive:
        pairs, names, ignored = _pairs(archive)
        looks = looks_at(archive, [pair.picture for pair in pairs], tick)
        sizes = Counter(size for size, _, _ in looks)
        height, width = common_size(sizes, options)
        channels = channels_of([is_grey for _, is_grey, _ in looks], options.color)
        needed = len(pairs) * (channels + 1) * height * width
        if needed > MAX_PREPARED_BYTES:
            raise InvalidArgument(
                f"{len(pairs)} pictures of {width}x{height} take {needed} bytes; at most "
                f"{MAX_PREPARED_BYTES} are allowed"
            )
        inputs = np.empty((len(pairs), channels, height, width), np.uint8)
        labels = np.empty((len(pairs), height, width), np.uint8)
        depths = set()
        for index, (pair, (size, _, _)) in enumerate(zip(pairs, looks, strict=True)):
            inputs[index] = decode(archive, pair.picture, (height, width), channels)
            labels[index], bits = _mask(archive, pair.mask, size, (height, width))
            depths |= {bits} if bits else set()
            tick(0.4 + 0.6 * _READ * index / len(pairs))
    if len(depths) > 1 and labels.max() >= 2 ** min(depths):
        raise InvalidArgument(
            f"some masks are grey in {min(depths)} bits and some in {max(depths)}, with numbers up "
            f"to {labels.max()}: what is white has another number in each; save all with 8 bits"
        )
    labels, class_labels = encode_masks(labels, names)
    warnings = []
    if ignored:
        warnings.append(f"{len(ignored)} files were left out: {ignored[0]} …")
    return Examples(
        task="segmentation",
        inputs=inputs,
        labels=labels,
        class_labels=class_labels,
        input_name="image",
        units=options.units or "intensity, 0 is black and 1 is white",
        value_range=(0.0, 1.0),
        parts=None if pairs[0].part is None else np.array([p.part for p in pairs], np.int8),
        details={
            "sizes": {f"{w}x{h}": count for (h, w), count in sizes.most_common(20)},
            "is_resized": set(sizes) != {(height, width)},
        },
        warnings=warnings,
    )


def _pairs(archive: Archive) -> tuple[list[_Pair], tuple[str, ...] | None, list[str]]:
    """Pictures with their masks in the order of their names, the classes' names, files left out."""
    pictures: dict[tuple[int | None, str], Entry] = {}
    masks: dict[tuple[int | None, str], Entry] = {}
    names, ignored = None, []
    for name, entry in sorted(archive.entries.items()):
        folders = [folder.lower() for folder in entry.path.parts[:-1]]
        kind = folders[-1] if folders else ""
        part = next((PART_NAMES[f] for f in reversed(folders[:-1]) if f in PART_NAMES), None)
        key = (part, entry.path.stem)
        if entry.path.name.lower() == CLASSES:
            names = _names(archive, entry)
        elif kind in IMAGES and entry.path.suffix.lower() in SUFFIXES:
            _put(pictures, key, entry)
        elif kind in MASKS and entry.path.suffix.lower() == ".png":
            _put(masks, key, entry)
        else:
            ignored.append(f"{name!r:.80}")
    if not pictures or not masks:
        there = ", ".join(list(archive.entries)[:5])
        raise InvalidArgument(f"the archive has no pictures with masks: {_LAYOUT}; it has {there}")
    alone = sorted(set(pictures) ^ set(masks), key=str)
    if alone:
        lone = (pictures | masks)[alone[0]].path
        is_mask = alone[0] in masks
        raise InvalidArgument(
            f"{str(lone)!r:.120} has no {'picture' if is_mask else 'mask'} of its name, as have "
            f"{len(alone) - 1} others; {_LAYOUT}"
        )
    if len(pictures) > MAX_EXAMPLES:
        raise InvalidArgument(f"{len(pictures)} pictures; at most {MAX_EXAMPLES} are allowed")
    parts = {part for part, _ in pictures}
    if None in parts and len(parts) > 1:
        raise InvalidArgument(f"some pictures lie in parts and some do not; {_LAYOUT}")
    return [_Pair(pictures[key], masks[key], key[0]) for key in pictures], names, ignored


def _put(
    found: dict[tuple[int | None, str], Entry], key: tuple[int | None, str], new: Entry
) -> None:
    if key in found:
        raise InvalidArgument(
            f"{str(found[key].path)!r:.120} and {str(new.path)!r:.120} have one name; a mask could "
            "not be told which it belongs to"
        )
    found[key] = new


def _names(archive: Archive, entry: Entry) -> tuple[str, ...]:
    try:
        lines = archive.read(entry).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{CLASSES} is not in UTF-8; save it as UTF-8") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != len(names):
        raise InvalidArgument(f"{CLASSES} has a name twice")
    return names


def _mask(
    archive: Archive, entry: Entry, size: tuple[int, int], wanted: tuple[int, int]
) -> tuple[Array, int]:
    """(H, W) uint8 of the wanted size, and in how many bits it is grey; 0: it has a palette.

    `size` is the upright picture's.
    """
    with opened_picture(archive, entry) as image, reading(entry):
        bits = _BITS.get(str(image.tile[0].args), 8) if image.mode != "P" else 0
        image.load()
        if image.mode not in ("1", "L", "P"):
            raise InvalidArgument(
                f"mask {str(entry.path)!r:.120} is of mode {image.mode}; wanted is a grey PNG of 8 "
                "bits or one with a palette, whose numbers are the classes"
            )
        if (image.height, image.width) != size:
            raise InvalidArgument(
                f"mask {str(entry.path)!r:.120} is {image.width}x{image.height}, its picture "
                f"{size[1]}x{size[0]}"
            )
        numbers = image.convert("L") if image.mode == "1" else image
        if size != wanted:
            numbers = numbers.resize((wanted[1], wanted[0]), Image.Resampling.NEAREST)
        stretched = 255 // (2**bits - 1) if bits else 1
        return np.asarray(numbers, np.uint8) // stretched, bits
