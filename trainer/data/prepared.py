"""`prepared.npz`: the examples of an uploaded data set in their parts, as they are stored.

    <part>_inputs, <part>_labels                    tables in float32, pictures in float32 or uint8
    <part>_text, <part>_offsets, <part>_labels      texts: one run of UTF-8, and where each begins
    <part>_label_text, <part>_label_offsets         the same of labels that are texts

Bytes stay bytes: pictures take a quarter of what float32 would, masks an eighth of int64.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from trainer.data.dataset import Array, Dataset, DatasetInfo, Split
from wintergarden.errors import DataLoss
from wintergarden.store.arrays import save, unpack

_MAX_BYTES = 8 * 2**30


def write_prepared(path: Path, parts: Mapping[str, tuple[Array, Array]]) -> None:
    """Writes inputs (N, …) of each part, and classes (N,), values (N, K) or masks (N, H, W)."""
    arrays: dict[str, Array] = {}
    for part, (inputs, labels) in parts.items():
        if inputs.dtype == object:
            arrays[f"{part}_text"], arrays[f"{part}_offsets"] = _joined(inputs)
        else:
            arrays[f"{part}_inputs"] = inputs
        if labels.dtype == object:
            arrays[f"{part}_label_text"], arrays[f"{part}_label_offsets"] = _joined(labels)
            continue
        kept = np.float32 if labels.dtype.kind == "f" else np.int64
        arrays[f"{part}_labels"] = labels.astype(np.uint8 if labels.ndim == 3 else kept)
    save(path, arrays)


def read_prepared(path: Path, info: DatasetInfo) -> Dataset:
    """The data set in a file: pictures of bytes as float32 in 0..1, texts as objects of `str`.

    Raises:
        DataLoss: it is not the data set that `info` describes.
    """
    arrays = unpack(path, _MAX_BYTES)
    try:
        parts = {part: _part(arrays, part) for part in ("train", "validation", "test")}
    except (KeyError, ValueError) as error:
        raise DataLoss(f"{path.name} of data set {info.name!r} is not whole: {error}") from error
    sizes = {part: len(split) for part, split in parts.items()}
    if sizes != info.split_sizes:
        raise DataLoss(
            f"{path.name} of data set {info.name!r} has {sizes} examples, not {info.split_sizes}"
        )
    return Dataset(info, **parts)


def _part(arrays: Mapping[str, Array], part: str) -> Split:
    if f"{part}_label_text" in arrays:
        labels = _texts(arrays[f"{part}_label_text"], arrays[f"{part}_label_offsets"])
    else:
        labels = arrays[f"{part}_labels"]
        labels = labels.astype(np.int64) if labels.dtype == np.uint8 else labels
    if f"{part}_text" in arrays:
        return Split(_texts(arrays[f"{part}_text"], arrays[f"{part}_offsets"]), labels)
    inputs = arrays[f"{part}_inputs"]
    if inputs.dtype == np.uint8:
        inputs = inputs.astype(np.float32) / np.float32(255)
    return Split(inputs.astype(np.float32, copy=False), labels)


def _joined(texts: Array) -> tuple[Array, Array]:
    """One run of UTF-8, and where each text begins, and the last ends."""
    encoded = [text.encode() for text in texts.tolist()]
    run = np.frombuffer(b"".join(encoded), np.uint8)
    return run, np.cumsum([0, *map(len, encoded)], dtype=np.int64)


def _texts(run: Array, offsets: Array) -> Array:
    content = run.tobytes()
    texts = [content[start:end].decode() for start, end in pairwise(offsets.tolist())]
    return np.array(texts, dtype=object)
