"""Files that people have, as arrays that models take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wintergarden.cli.files import Array, read_json, read_lines, read_numpy, read_picture
from wintergarden.client.rows import array_of, fitted
from wintergarden.client.texts import encode_texts, is_text
from wintergarden.errors import InvalidArgument
from wintergarden.wire.tensors import dtype_of

_FORMATS = ".npy, .npz, .json, .png or .txt"


def read_inputs(
    path: Path, manifest: Mapping[str, Any], *, invert: bool = False
) -> dict[str, Array]:
    """Arrays by input name, with a batch axis and in the model's own datatypes.

    A picture is made what the model takes: grey or coloured, resized, and scaled from the
    file's 0–255 into the manifest's value range. Texts, the lines of a .txt file or a list in
    JSON, become token ids by the model's vocabulary.

    Args:
        path: a .npy, .npz, .json, .png or .txt file.
        manifest: of the model.
        invert: swap dark and light of a picture (ink on paper for models of light on dark).

    Raises:
        InvalidArgument: the file is none of these, or not what the model takes.
    """
    wanted = manifest["inputs"]
    match path.suffix.lower():
        case ".npy" | ".npz":
            found: Any = read_numpy(path)
        case ".json":
            found = read_json(path)
        case ".png":
            return {wanted[0]["name"]: _read_png(path, wanted[0], invert)}
        case ".txt":
            return encode_texts(read_lines(path), manifest, str(manifest.get("model", "")))
        case other:
            raise InvalidArgument(f"{path}: {other or 'no suffix'}; want {_FORMATS}")
    if is_text(found):
        return encode_texts(found, manifest, str(manifest.get("model", "")))
    if not isinstance(found, Mapping):
        if len(wanted) != 1:
            names = ", ".join(tensor["name"] for tensor in wanted)
            raise InvalidArgument(f"{path}: one array, and the model takes several: {names}")
        found = {wanted[0]["name"]: found}
    by_name = {tensor["name"]: tensor for tensor in wanted}
    if unknown := sorted(set(found) - set(by_name)):
        raise InvalidArgument(
            f"{path}: unknown input {', '.join(unknown)}; the model takes {', '.join(by_name)}"
        )
    return {name: _fit(value, by_name[name], path) for name, value in found.items()}


def given_inputs(
    path: Path | None,
    texts: Sequence[str] | None,
    manifest: Mapping[str, Any],
    *,
    invert: bool = False,
) -> dict[str, Array]:
    """Of a file, or of texts that were given in its place."""
    if path is not None:
        return read_inputs(path, manifest, invert=invert)
    return encode_texts(texts or (), manifest, str(manifest.get("model", "")))


def _fit(value: Any, wanted: Mapping[str, Any], path: Path) -> Array:
    """The value in the input's datatype; one example gets the batch axis it lacks."""
    try:
        array = array_of(value)
    except ValueError as exc:
        raise InvalidArgument(f"{path}: the rows have different lengths") from exc
    array = fitted(array, wanted["datatype"], wanted["name"])
    if array.ndim == len(wanted["shape"]) - 1:
        array = array[np.newaxis]
    return array


def _read_png(path: Path, wanted: Mapping[str, Any], invert: bool) -> Array:
    """One picture as (1, C, H, W) or (1, H, W, C), as the input's shape says."""
    channels, height, width, channels_first = _picture_layout(wanted)
    picture = read_picture(path, "L" if channels == 1 else "RGB", (width, height))
    fraction = np.asarray(picture, np.float32) / 255
    if invert:
        fraction = 1 - fraction
    low, high = wanted.get("value_range") or (0.0, 255.0)
    scaled = (low + fraction * (high - low)).astype(np.float32)
    array = scaled[..., np.newaxis] if scaled.ndim == 2 else scaled  # (H, W, C)
    if channels_first:
        array = array.transpose(2, 0, 1)
    if dtype_of(wanted["datatype"], wanted["name"]).kind in "iu":
        array = array.round().astype(np.int64)
    return fitted(np.ascontiguousarray(array[np.newaxis]), wanted["datatype"], wanted["name"])


def _picture_layout(wanted: Mapping[str, Any]) -> tuple[int, int, int, bool]:
    """Channels, height, width and whether channels come first; -1 for any size."""
    shape = list(wanted["shape"])
    if len(shape) == 4 and shape[1] in (1, 3):
        return shape[1], shape[2], shape[3], True
    if len(shape) == 4 and shape[3] in (1, 3):
        return shape[3], shape[1], shape[2], False
    raise InvalidArgument(
        f"input {wanted['name']!r} of shape {shape} is no picture (N, C, H, W) or (N, H, W, C) "
        "with one or three channels; give .npy, .npz or .json"
    )
