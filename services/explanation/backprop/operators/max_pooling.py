"""The backward pass of MaxPool without the places of the maxima.

ONNX Runtime's MaxPool is ten to forty times slower where it also has to tell the places, and adding
at places is slow again. So the maxima are found anew by comparing: x with its window's maximum.
Where several elements share it the first one in order of rows gets all, as in PyTorch.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators.indexing import put_back
from services.explanation.backprop.operators.windows import Window, static_lengths, upsampled
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()

_TO_THE_END = np.iinfo(np.int64).max


@rules("MaxPool")
def max_pool(op: Operation, g: Value) -> Gradients:
    """All to the maximum that the forward pass picked: the first one of a tie, as in PyTorch."""
    x = op.inputs[0]
    window = Window.of(op, x)
    has_places = any(op.node.output[1:])
    # Shares are products with zeros and ones, which an infinite gradient does not survive.
    if has_places or not op.is_bounded or g.elem_type != TensorProto.FLOAT:
        return [put_back(winners(op), g, x)]
    if window.tiles(x):
        return [_tiled(op, g, window)]
    if stack := _Stack.of(x, op.outputs[0], window):
        return [_overlapping(op, g, stack)]
    return [put_back(winners(op), g, x)]


def winners(op: Operation) -> Value:
    """Flat positions of a MaxPool's maxima."""
    if op.attribute("storage_order", 0):
        raise op.refusal("storage_order=1 (column-major indices)")
    return op.extra_output(1, TensorProto.INT64)


def _tiled(op: Operation, g: Value, window: Window) -> Value:
    """Windows side by side: each element looks at its own window's maximum.

    Those that equal it are numbered downwards, and the largest number of a window is its first.
    """
    x, y = op.inputs[0], op.outputs[0]
    lengths = static_lengths(x) or []
    numbers = np.arange(math.prod(window.kernel), 0, -1, dtype=np.float32).reshape(window.kernel)
    repeats = [n // k for n, k in zip(lengths, window.kernel, strict=True)]
    order = op.build.constant(np.tile(numbers, repeats)[None, None])
    ranked = x.equals(upsampled(y, window)).cast(g.elem_type) * order
    first = op.build.emit(
        "MaxPool", ranked, kernel_shape=list(window.kernel), strides=list(window.strides)
    )
    return ranked.equals(upsampled(first, window)).cast(g.elem_type) * upsampled(g, window)


def _overlapping(op: Operation, g: Value, stack: _Stack) -> Value:
    """One axis after the other: the maximum of each row of a window, then that of the rows.

    The axes go back in the opposite order. What arrives at a maximum goes to the first element
    that equals it; what has been given is taken off what the others are offered.
    """
    series = stack.laid_out(op.inputs[0])
    levels: list[tuple[list[Value], Value]] = []
    for axis in (1, 0):
        elements = stack.elements(series, axis)
        series = elements[0] if len(elements) == 1 else op.build.emit("Max", *elements)
        levels.append((elements, series))
    left = stack.as_element(g)
    for axis, (elements, maximum) in enumerate(reversed(levels)):
        shares = []
        for element in elements[:-1]:
            shares.append(left * element.equals(maximum).cast(g.elem_type))
            left = left - shares[-1]
        left = stack.put_together([*shares, left], axis)
    return stack.flattened(left)


@dataclass(frozen=True)
class _Stack:
    """The elements of windows of two axes as shifts of one tensor [N, s, s, C · rows · columns].

    The positions are split by their remainders from the stride, s x s, and padded until windows
    end where rows do. Then the next row is a shift too, each shift is one long copy, and only the
    gradients of windows that would run on into another row have to be zeros.

    Attributes:
        window: The geometry; both strides are the same.
        lengths: Rows and columns of x.
        counts: Windows in a column and in a row.
    """

    window: Window
    lengths: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, x: Value, y: Value, window: Window) -> _Stack | None:
        """None where windows cannot be laid out."""
        lengths, counts = static_lengths(x), static_lengths(y)
        if lengths is None or counts is None or len(lengths) != 2:
            return None
        stride = window.strides[0]
        is_split = stride > 1 and (max(window.dilations) > 1 or min(window.kernel) < stride)
        if window.strides != (stride, stride) or is_split:
            return None
        return cls(window, tuple(lengths), tuple(counts))

    @property
    def stride(self) -> int:
        return self.window.strides[0]

    @property
    def reaches(self) -> list[int]:
        """The largest shift in each direction, by rows and by columns."""
        return [(extent - 1) // self.stride for extent in self.window.extents]

    @property
    def sides(self) -> list[int]:
        """Rows and columns of each remainder."""
        return [count + reach for count, reach in zip(self.counts, self.reaches, strict=True)]

    def laid_out(self, x: Value) -> Value:
        """[N, s, s, C · rows · columns]; minus infinity where windows see beyond the edges."""
        series = _resized(x, self.window.pads_begin, self._pads_end(), fill=-math.inf)
        if self.stride > 1:
            series = x.builder.emit("SpaceToDepth", series, blocksize=self.stride)
        return series.reshape([0, self.stride, self.stride, -1])

    def flattened(self, series: Value) -> Value:
        """[N, C, H, W] again, without the edges."""
        series = series.reshape([0, -1, *self.sides])
        if self.stride > 1:
            series = series.builder.emit("DepthToSpace", series, blocksize=self.stride)
        begin, end = self.window.pads_begin, self._pads_end()
        return _resized(series, [-p for p in begin], [-p for p in end], fill=0)

    def as_element(self, g: Value) -> Value:
        """[N, C, …windows] laid out like the elements of all windows."""
        series = _resized(g, (0, 0), self.reaches, fill=0).reshape([0, 1, 1, -1])
        beyond = sum(reach * self._unit(axis) for axis, reach in enumerate(self.reaches))
        return _cut(series, {3: (0, -beyond or _TO_THE_END)})

    def elements(self, series: Value, axis: int) -> list[Value]:
        """The first, second, … element of each window along one axis."""
        found = []
        for begin, beyond, remainder in self._places(axis):
            cuts = {3: (begin, -beyond or _TO_THE_END)}
            if self.stride > 1:
                cuts[1 + axis] = remainder, remainder + 1
            found.append(_cut(series, cuts))
        return found

    def put_together(self, parts: Sequence[Value], axis: int) -> Value:
        """The transpose of `elements`: each part where its elements are, added up."""
        by_remainder: list[list[Value]] = [[] for _ in range(self.stride)]
        for part, (begin, beyond, remainder) in zip(parts, self._places(axis), strict=True):
            build = part.builder
            pads, last = build.integers([begin, beyond]), build.integers([3])
            placed = build.emit("Pad", part, pads, part.like(0), last)
            by_remainder[remainder].append(placed if begin or beyond else part)
        sums = [functools.reduce(operator.add, placed) for placed in by_remainder]
        return sums[0].builder.concat(sums, axis=1 + axis)

    def _places(self, axis: int) -> Iterator[tuple[int, int, int]]:
        """How much lies before and behind each element's shift, and the remainder it is in."""
        unit = self._unit(axis)
        for index in range(self.window.kernel[axis]):
            shift, remainder = divmod(index * self.window.dilations[axis], self.stride)
            yield shift * unit, (self.reaches[axis] - shift) * unit, remainder

    def _unit(self, axis: int) -> int:
        """Elements between neighbours along an axis."""
        return 1 if axis else self.sides[1]

    def _pads_end(self) -> list[int]:
        """What the windows need behind x; below zero where they do not reach its end."""
        spans = zip(self.sides, self.lengths, self.window.pads_begin, strict=True)
        return [self.stride * side - length - begin for side, length, begin in spans]


def _cut(series: Value, cuts: dict[int, tuple[int, int]]) -> Value:
    """Begin and end by axis."""
    begins, ends = zip(*cuts.values(), strict=True)
    if all(cut == (0, _TO_THE_END) for cut in cuts.values()):
        return series
    build = series.builder
    return build.emit("Slice", series, *map(build.integers, (begins, ends, tuple(cuts))))


def _resized(x: Value, begin: Sequence[int], end: Sequence[int], *, fill: float) -> Value:
    """Longer at the edges of its last two axes, or shorter where a number is below zero."""
    if not any((*begin, *end)):
        return x
    if max((*begin, *end)) <= 0:  # the same in half the time
        return _cut(
            x,
            {
                2 + i: (-b, e or _TO_THE_END)
                for i, (b, e) in enumerate(zip(begin, end, strict=True))
            },
        )
    build = x.builder
    pads, axes = build.integers([*begin, *end]), build.integers([2, 3])
    return build.emit("Pad", x, pads, x.like(fill), axes)
