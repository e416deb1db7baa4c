"""NPZ files: arrays `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test` and so on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.dataset import Array
from trainer.preparation.archive import opened
from trainer.preparation.examples import (
    TEST,
    TRAIN,
    VALIDATION,
    Examples,
    Tick,
    check_names,
    encode_classes,
    encode_masks,
)
from trainer.preparation.limits import (
    MAX_CLASSES,
    MAX_COLUMNS,
    MAX_EXAMPLES,
    MAX_PIXELS,
    MAX_PREPARED_BYTES,
)
from wintergarden.errors import InvalidArgument
from wintergarden.store.arrays import parse_array
from wintergarden.store.preparation import PreparationOptions

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_NUMBERS = "biuf"
_SHAPED = ("regression", "segmentation")
"""Tasks whose y may have more than one number for each example."""

_NOT_YET: Array = np.empty(0, np.int64)
_WANTED = (
    "wanted are x and y, or x_train, y_train, x_test, y_test and, if there are, x_validation and "
    "y_validation; class_labels and feature_names may be there too"
)


def read_arrays(path: Path, options: PreparationOptions, tick: Tick) -> Examples:
    """The examples of an NPZ file: tables (N, F), or pictures (N, H, W[, C]) or (N, C, H, W).

    Raises:
        InvalidArgument: it is none, holds Python objects, or its arrays do not fit together.
    """
    found = _read(path, tick)
    inputs, answers, parts = _join(found, options.task)
    labels, class_labels = _answers(answers, found.get("class_labels"), options.task)
    if len(labels) > MAX_EXAMPLES:
        raise InvalidArgument(
            f"there are {len(labels)} examples; at most {MAX_EXAMPLES} are allowed"
        )
    if inputs.ndim == 2:
        made = _table(inputs, found.get("feature_names"), options)
    else:
        made = _pictures(inputs, options)
    task = options.task if options.task and options.task in _SHAPED else made.task
    if task == "segmentation" and labels.shape[1:] != made.inputs.shape[2:]:
        raise InvalidArgument(
            f"x of shape {list(inputs.shape)} and y of shape {list(labels.shape)}: a segmentation "
            "wants pictures, and a class for each of their pixels"
        )
    return replace(made, task=task, labels=labels, class_labels=class_labels, parts=parts)


def _answers(answers: Array, named: Array | None, task: str) -> tuple[Array, tuple[str, ...]]:
    """What is to be learnt, and what it is called."""
    if task == "regression":
        return _values(answers, named)
    if task == "segmentation":
        if answers.dtype.kind not in "iub" or answers.ndim != 3 or int(answers.min(initial=0)) < 0:
            raise InvalidArgument(
                f"array y is of {answers.dtype} {list(answers.shape)}; a segmentation wants the "
                "class of each pixel as whole numbers from 0, (N, H, W)"
            )
        names = None if named is None else tuple(str(n) for n in named.reshape(-1).tolist())
        return encode_masks(answers, names)
    texts, order = _labels(answers, named)
    if order is None:
        return encode_classes(texts)
    class_labels, labels = _in_the_order_of(order, texts)
    return labels, class_labels


def _values(answers: Array, named: Array | None) -> tuple[Array, tuple[str, ...]]:
    """Values (N, K) float32 and their names."""
    values = answers.reshape(len(answers), -1)
    if values.dtype.kind not in _NUMBERS:
        raise InvalidArgument(f"array y is of {answers.dtype}; a regression learns numbers")
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(single).all(axis=1))
    if len(bad):
        raise InvalidArgument(
            f"array y has no finite number in {len(bad)} of {len(values)} examples, the first is "
            f"{bad[0]}; complete them or leave them out"
        )
    count = values.shape[1]
    names = ("y",) if count == 1 else tuple(f"y{index}" for index in range(count))
    if named is not None:
        names = tuple(str(name) for name in named.reshape(-1).tolist())
        if len(names) != count or len(set(names)) != count:
            raise InvalidArgument(f"class_labels has {len(set(names))} names for {count} values")
    if not 1 <= count <= MAX_CLASSES:
        raise InvalidArgument(f"array y has {count} values for each example; 1 to {MAX_CLASSES}")
    check_names(names)
    return single, names


def _read(path: Path, tick: Tick) -> dict[str, Array]:
    arrays = {}
    with opened(path) as archive:
        for done, (name, entry) in enumerate(sorted(archive.entries.items())):
            if not name.endswith(".npy"):
                raise InvalidArgument(f"the NPZ file has an entry {name!r:.80} that is no array")
            try:
                arrays[name.removesuffix(".npy")] = parse_array(archive.read(entry))
            except ValueError as error:
                if "objects" in str(error):
                    raise InvalidArgument(
                        f"array {name.removesuffix('.npy')!r:.80} holds Python objects (a "
                        "pickle), which could run code when they are read; save it as numbers or "
                        "as text of dtype str"
                    ) from error
                raise InvalidArgument(f"array {name!r:.80} cannot be read: {error}") from error
            tick(done / len(archive.entries))
    return arrays


def _join(found: dict[str, Array], task: str) -> tuple[Array, Array, Array | None]:
    """Inputs and answers of all parts one after another, and which part each belongs to."""
    there_are = ", ".join(f"{name:.40}" for name in list(found)[:20]) or "none"
    named = [part for part in _PARTS if f"x_{part}" in found]
    if ("x" in found) == bool(named) or (named and "train" not in named):
        raise InvalidArgument(f"the NPZ file has arrays {there_are}; {_WANTED}")
    pairs = [("x", "y")] if not named else [(f"x_{part}", f"y_{part}") for part in named]
    for x, y in pairs:
        if y not in found:
            raise InvalidArgument(f"the NPZ file has {x} and no {y}; {_WANTED}")
        if found[x].dtype.kind not in _NUMBERS:
            raise InvalidArgument(f"array {x} is of {found[x].dtype}; numbers are wanted")
        if found[x].ndim not in (2, 3, 4):
            raise InvalidArgument(
                f"array {x} has shape {list(found[x].shape)}; wanted are (N, F), (N, H, W), "
                "(N, H, W, C) or (N, C, H, W)"
            )
        if not _fits(found[y].shape, len(found[x]), task):
            raise InvalidArgument(
                f"array {y} has shape {list(found[y].shape)}; {x} has {len(found[x])} examples, so "
                f"{_wanted(len(found[x]), task)} is wanted"
            )
    for axis in (0, 1) if task in _SHAPED else (0,):
        if len({found[pair[axis]].shape[1:] for pair in pairs}) > 1:
            shapes = ", ".join(f"{pair[axis]} {list(found[pair[axis]].shape)}" for pair in pairs)
            raise InvalidArgument(f"the examples of the parts differ in shape: {shapes}")
    inputs = np.concatenate([found[x] for x, _ in pairs])
    if not inputs.size:
        raise InvalidArgument(f"array {pairs[0][0]} has shape {list(inputs.shape)}: it is empty")
    flat = (lambda y: y) if task in _SHAPED else np.ravel
    answers = np.concatenate([flat(found[y]) for _, y in pairs])
    if not named:
        return inputs, answers, None
    parts = np.concatenate([np.full(len(found[f"x_{part}"]), _PARTS[part]) for part in named])
    return inputs, answers, parts.astype(np.int8)


def _fits(shape: tuple[int, ...], count: int, task: str) -> bool:
    if task == "segmentation":
        return len(shape) == 3 and shape[0] == count
    if task == "regression":
        return len(shape) in (1, 2) and shape[0] == count
    return shape in ((count,), (count, 1))


def _wanted(count: int, task: str) -> str:
    shapes = {"segmentation": f"({count}, H, W)", "regression": f"({count},) or ({count}, K)"}
    return shapes.get(task, f"({count},)")


def _labels(answers: Array, named: Array | None) -> tuple[list[str], list[str] | None]:
    """Classes as text, and the order that `class_labels` puts them in."""
    if answers.dtype.kind == "f" and not (answers == np.floor(answers)).all():
        raise InvalidArgument("array y holds fractions; classes are whole numbers or text")
    if answers.dtype.kind in "fb":
        answers = answers.astype(np.int64)
    if answers.dtype.kind not in "iuU":
        raise InvalidArgument(f"array y is of {answers.dtype}; whole numbers or text are wanted")
    texts = [str(value) for value in answers.tolist()]
    if named is None:
        return texts, None
    names = [str(name) for name in named.reshape(-1).tolist()]
    if len(set(names)) != len(names):
        raise InvalidArgument("array class_labels has a name twice")
    if answers.dtype.kind == "U":
        return texts, names
    low, high = int(answers.min(initial=0)), int(answers.max(initial=0))
    if low < 0 or high >= len(names):
        raise InvalidArgument(
            f"array y has classes {low} to {high}, and class_labels names {len(names)}"
        )
    return [names[value] for value in answers.tolist()], names


def _in_the_order_of(names: list[str], texts: list[str]) -> tuple[tuple[str, ...], Array]:
    places = {name: place for place, name in enumerate(names)}
    missing = sorted(set(texts) - set(names))
    if missing:
        raise InvalidArgument(f"array y has {missing[0]!r:.80}, which class_labels does not name")
    unused = sorted(set(names) - set(texts))
    if unused:
        raise InvalidArgument(f"class_labels names {unused[0]!r:.80}, of which y has no example")
    return tuple(names), np.array([places[text] for text in texts], np.int64)


def _table(inputs: Array, named: Array | None, options: PreparationOptions) -> Examples:
    width = inputs.shape[1]
    if not 1 <= width <= MAX_COLUMNS:
        raise InvalidArgument(f"x has {width} columns; allowed are 1 to {MAX_COLUMNS}")
    names = tuple(f"x{column}" for column in range(width))
    if named is not None:
        names = tuple(str(name) for name in named.reshape(-1).tolist())
        if len(names) != width or len(set(names)) != width:
            raise InvalidArgument(
                f"feature_names has {len(set(names))} different names for {width} columns"
            )
    return Examples(
        task="tabular-classification",
        inputs=inputs.astype(np.float64),
        labels=_NOT_YET,
        class_labels=(),
        input_name="features",
        units=options.units or "as uploaded",
        feature_names=names,
        details={"columns": [{"name": name, "kind": "number"} for name in names]},
    )


def _pictures(inputs: Array, options: PreparationOptions) -> Examples:
    if options.height is not None:
        raise InvalidArgument(
            "arrays are not resized; resize the pictures first, or upload an image folder",
            field="options.height",
        )
    pictures = _channels_first(inputs)
    if pictures[0].size > MAX_PIXELS * 3 or inputs.nbytes > MAX_PREPARED_BYTES:
        raise InvalidArgument(
            f"x of shape {list(inputs.shape)} takes {inputs.nbytes} bytes; at most "
            f"{MAX_PREPARED_BYTES} are allowed"
        )
    value_range: Any = (0.0, 1.0)
    if pictures.dtype != np.uint8:
        if pictures.dtype.kind != "f":
            raise InvalidArgument(
                f"pictures in {pictures.dtype}: wanted are uint8 (0 to 255) or floats (0 to 1)"
            )
        pictures = pictures.astype(np.float32)
        low, high = float(np.min(pictures)), float(np.max(pictures))
        if not (low >= 0 and high <= 1):  # NaN is neither
            raise InvalidArgument(
                f"pictures in floats have values 0 to 1, these have {low:g} to {high:g}; scale "
                "them, or save them as uint8"
            )
    return Examples(
        task="image-classification",
        inputs=np.ascontiguousarray(pictures),
        labels=_NOT_YET,
        class_labels=(),
        input_name="image",
        units=options.units or "intensity, 0 to 1",
        value_range=value_range,
        details={"sizes": {f"{pictures.shape[3]}x{pictures.shape[2]}": len(pictures)}},
    )


def _channels_first(inputs: Array) -> Array:
    """(N, C, H, W) of what has its channels first, last, or none."""
    if inputs.ndim == 3:
        return inputs[:, None]
    is_first, is_last = inputs.shape[1] in (1, 3), inputs.shape[3] in (1, 3)
    if is_first == is_last:
        raise InvalidArgument(
            f"x of shape {list(inputs.shape)}: which axis is the channels cannot be told; wanted "
            "is (N, C, H, W) or (N, H, W, C) with C 1 or 3"
        )
    return inputs if is_first else inputs.transpose(0, 3, 1, 2)
