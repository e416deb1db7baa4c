"""Where an output that has places is explained: the mean of its classes over a region.

An output [N, K, H, W] has a vector of K classes at each pixel, one [N, T, K] at each position of a
sequence. What is explained is a vector [N, K] again: the mean over a region of places, which the
graph itself computes, so that every method sees a model like any other. After the sums over
channels that are shown to methods of attribution by Kokhlikyan et al., Captum, 2020,
arXiv:2009.07896, "Semantic segmentation"; the mean, since a region's size says nothing.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from services.explanation.arrays import Array
from wintergarden.errors import InvalidArgument

Box: TypeAlias = tuple[tuple[int, int], ...]
"""First and last-but-one place of each axis."""

Region: TypeAlias = str | Box | Array
"""A name of `NAMES`, a box, or a mask: bool, of the places' shape. "" is the default."""

EVERYWHERE, PREDICTED = "everywhere", "predicted"
NAMES = (EVERYWHERE, PREDICTED)

SHARES = "wintergarden.region"
"""The graph input that weighs the places."""

_TOKEN_PADDING = 0


def class_axis(rank: int) -> int:
    """Sequences [N, T, K] have their classes last, pictures [N, K, H, W] right after the rows."""
    return 2 if rank == 3 else 1


def choose(
    answers: Array, rows: Array, region: Region, targets: Array | None
) -> tuple[Array, Array]:
    """The class that is explained of each row, and where.

    Args:
        answers: [N, K, *places] or [N, T, K], of the model for the rows.
        rows: [N, …].
        region: Default: of pictures, where the target is predicted; of sequences, the last place.
        targets: [N]; None: the class that most places are given to, or of a box, a mask or
            everywhere the one with the largest mean.

    Returns:
        Targets [N] and masks [N, *places], bool.

    Raises:
        InvalidArgument: no such region, an empty one, or a target that is predicted nowhere.
    """
    by_class = np.moveaxis(answers, class_axis(answers.ndim), 1)  # [N, K, *places]
    places = by_class.shape[2:]
    if isinstance(region, str) and region in (PREDICTED, "" if len(places) > 1 else PREDICTED):
        return _predicted(by_class, targets)
    masks = _masks(region, rows, len(answers), places)
    if targets is None:
        inside = np.where(masks[:, None], by_class, 0).reshape(*by_class.shape[:2], -1)
        targets = inside.sum(axis=2, dtype=np.float64).argmax(axis=1)
    return targets, masks


def shares_of(mask: Array, rank: int) -> Array:
    """What each place weighs: 1 of a region's size, [1, 1, H, W] or [1, T, 1] float64."""
    shares = mask / mask.sum(dtype=np.float64)
    return np.expand_dims(shares[None], class_axis(rank))


def pooled_name(output: str) -> str:
    """The tensor [N, K] that `pooled` adds."""
    return f"{output}.region"


def pooled(model: onnx.ModelProto, output: str, rank: int) -> onnx.ModelProto:
    """The model with one more output, the sum of `output` over its places, weighed by `SHARES`.

    Args:
        model: It is not changed.
        output: A graph output of `rank` axes.
        rank: Three or more.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, axis = copy.graph, class_axis(rank)
    info = next(o for o in graph.output if o.name == output)
    kind, dims = info.type.tensor_type.elem_type, info.type.tensor_type.shape.dim
    axes = [a for a in range(1, rank) if a != axis]
    opset = next(o.version for o in copy.opset_import if o.domain in ("", "ai.onnx"))
    weighed, name = f"{output}.weighed", pooled_name(output)
    graph.node.append(helper.make_node("Mul", [output, SHARES], [weighed]))
    if opset >= 13:  # axes became an input
        graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), f"{name}.axes"))
        total = helper.make_node("ReduceSum", [weighed, f"{name}.axes"], [name], keepdims=0)
    else:
        total = helper.make_node("ReduceSum", [weighed], [name], axes=axes, keepdims=0)
    graph.node.append(total)
    sizes = [1 if a in (0, axis) else f"{SHARES}.{a}" for a in range(rank)]
    graph.input.append(helper.make_tensor_value_info(SHARES, kind, sizes))
    kept = [dims[a].dim_value or dims[a].dim_param or None for a in (0, axis)]
    graph.output.append(helper.make_tensor_value_info(name, kind, kept))
    return copy


def _predicted(by_class: Array, targets: Array | None) -> tuple[Array, Array]:
    seen = by_class.argmax(axis=1)  # [N, *places]
    counts = np.stack([np.bincount(s.ravel(), minlength=by_class.shape[1]) for s in seen])
    if targets is None:
        targets = counts.argmax(axis=1)
    for row, (target, count) in enumerate(zip(targets, counts, strict=True)):
        if not count[target]:
            raise InvalidArgument(
                f"row {row}: class {target} is predicted nowhere; predicted are "
                f"{', '.join(map(str, np.flatnonzero(count)))}; choose one of them as the target, "
                f"or another region than '{PREDICTED}'",
                "region",
            )
    return targets, seen == np.expand_dims(targets, tuple(range(1, seen.ndim)))


def _masks(region: Region, rows: Array, count: int, places: tuple[int, ...]) -> Array:
    """[N, *places]."""
    masks = np.zeros((count, *places), bool)
    if isinstance(region, str):
        if region == EVERYWHERE:
            masks[:] = True
        elif not region:
            masks[np.arange(count), _last(rows, count, places[0])] = True
        else:
            raise InvalidArgument(
                f"region '{region}'; known are {', '.join(NAMES)}, a box, and a mask", "region"
            )
    elif isinstance(region, np.ndarray):
        if region.dtype != bool or region.shape != places:
            raise InvalidArgument(
                f"region: the mask must be BOOL {list(places)}, got {region.dtype} "
                f"{list(region.shape)}",
                "region",
            )
        masks[:] = region
    else:
        masks[(slice(None), *_slices(region, places))] = True
    if not masks.any(axis=tuple(range(1, masks.ndim))).all():
        raise InvalidArgument("region: it has no place in it", "region")
    return masks


def _last(rows: Array, count: int, length: int) -> Array:
    """The last position of each row, before what pads it where rows are tokens."""
    if rows.dtype.kind in "iu" and rows.shape == (count, length):
        there = rows != _TOKEN_PADDING
        return np.where(there.any(axis=1), length - 1 - there[:, ::-1].argmax(axis=1), 0)
    return np.full(count, length - 1)


def _slices(box: Box, places: tuple[int, ...]) -> tuple[slice, ...]:
    is_inside = len(box) == len(places) and all(
        0 <= begin < end <= size for (begin, end), size in zip(box, places, strict=True)
    )
    if not is_inside:
        raise InvalidArgument(
            f"region: box {' × '.join(f'{begin}:{end}' for begin, end in box)} is not within the "
            f"places {' × '.join(f'0:{size}' for size in places)}",
            "region",
        )
    return tuple(slice(begin, end) for begin, end in box)
