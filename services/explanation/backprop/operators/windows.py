"""Sliding windows: their geometry, and the sum of what overlapping windows send back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.values import Shape, Value

CHANNEL_BLOCK = 16


@dataclass(frozen=True)
class Window:
    """Kernel, strides, dilations and pads per spatial axis, with `auto_pad` worked out."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    is_ceiled: bool = False  # the last window may hang over the padded end

    @classmethod
    def of(cls, op: Operation, x: Value, weight_shape: Shape | None = None) -> Window:
        """Read a node's attributes; the kernel may have to come from the weights' shape."""
        kernel = [k for k in op.attribute("kernel_shape", (weight_shape or ())[2:]) if k]
        if not kernel or not all(isinstance(k, int) for k in kernel):
            raise op.refusal("its kernel's shape is unknown")
        pads = op.attribute("pads", [0] * 2 * len(kernel))
        window = cls(
            kernel=tuple(kernel),
            strides=tuple(op.attribute("strides", [1] * len(kernel))),
            dilations=tuple(op.attribute("dilations", [1] * len(kernel))),
            pads_begin=tuple(pads[: len(kernel)]),
            pads_end=tuple(pads[len(kernel) :]),
            is_ceiled=bool(op.attribute("ceil_mode", 0)),
        )
        mode = op.attribute("auto_pad", "NOTSET")
        return window._padded_same(op, x, mode) if mode.startswith("SAME") else window

    @property
    def extents(self) -> list[int]:
        """How far a window reaches, dilation included."""
        return [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    def has_ragged_windows(self) -> bool:
        """Whether some windows may cover fewer elements than others."""
        return any(self.pads_begin) or any(self.pads_end) or self.is_ceiled

    def tiles(self, x: Value) -> bool:
        """Whether the windows lie side by side and cover `x` exactly."""
        lengths = static_lengths(x)
        if lengths is None or self.has_ragged_windows() or self.strides != self.kernel:
            return False
        is_whole = all(n % k == 0 for n, k in zip(lengths, self.kernel, strict=True))
        return is_whole and all(d == 1 for d in self.dilations)

    def _padded_same(self, op: Operation, x: Value, mode: str) -> Window:
        """Pads that give ⌈length / stride⌉ windows; the odd one goes where `mode` says."""
        lengths = static_lengths(x)
        if lengths is None:
            raise op.refusal(f"auto_pad={mode} on axes whose lengths are unknown")
        spans = zip(lengths, self.strides, self.extents, strict=True)
        totals = [max((-(-n // s) - 1) * s + reach - n, 0) for n, s, reach in spans]
        small = tuple(total // 2 for total in totals)
        large = tuple(total - total // 2 for total in totals)
        begin, end = (large, small) if mode == "SAME_LOWER" else (small, large)
        return replace(self, pads_begin=begin, pads_end=end)

    def uncovered(self, lengths: Sequence[int]) -> list[int]:
        """Elements at the end of each padded axis that no window reaches."""
        padded = [
            n + b + e for n, b, e in zip(lengths, self.pads_begin, self.pads_end, strict=True)
        ]
        parts = zip(padded, self.extents, self.strides, strict=True)
        return [(length - reach) % stride for length, reach, stride in parts]


def scatter_windows(g: Value, weight: Value, x: Value, window: Window, group: int = 1) -> Value:
    """Give each window's gradient back to the elements it covers, added up where windows overlap.

    For strides of one that is a convolution with the kernel turned round. ONNX Runtime's kernels
    for it take channels by blocks of sixteen, which makes ConvTranspose the faster one for fewer.

    Args:
        g: [N, M, …windows].
        weight: [M, C / group, …kernel].
        x: [N, C, …spatial]; only its shape is used.
        window: The geometry of the forward operator.
        group: Groups of channels that do not see each other.
    """
    build = g.builder
    if _is_dense(window) and not _has_few_channels(weight, group):
        return _correlated(g, weight, window, group)

    def transposed(**extra: Any) -> Value:
        return build.emit(
            "ConvTranspose",
            g,
            weight,
            strides=list(window.strides),
            dilations=list(window.dilations),
            group=group,
            **extra,
        )

    lengths = static_lengths(x)
    if lengths is not None and not window.is_ceiled:
        pads = [*window.pads_begin, *window.pads_end]
        return transposed(pads=pads, output_padding=window.uncovered(lengths))
    # What the windows span, filled up to x and its pads, then cut to x: whatever its length.
    span = transposed()
    nothing = build.integers([0] * len(window.kernel))
    axes = build.integers(range(2, 2 + len(window.kernel)))
    begin = build.integers(window.pads_begin)
    stop = begin + x.dims(2)
    missing = build.emit("Max", stop - span.dims(2), nothing)
    filled = build.emit("Pad", span, build.concat([nothing, missing]), g.like(0), axes)
    return build.emit("Slice", filled, begin, stop, axes)


def _is_dense(window: Window) -> bool:
    """Whether every place starts a window, and none lies wholly in the padding."""
    pads = (*window.pads_begin, *window.pads_end)
    is_covered = all(p < reach for p, reach in zip(pads, window.extents * 2, strict=True))
    return is_covered and not window.is_ceiled and all(s == 1 for s in window.strides)


def _has_few_channels(weight: Value, group: int) -> bool:
    channels = None if weight.shape is None else weight.shape[1]
    return group == 1 and isinstance(channels, int) and channels < CHANNEL_BLOCK


def _correlated(g: Value, weight: Value, window: Window, group: int) -> Value:
    """The convolution with the kernel turned round."""
    build, axes = weight.builder, len(window.kernel)
    ends = [build.integers([number] * axes) for number in (-1, np.iinfo(np.int64).min, -1)]
    spatial = build.integers(range(2, 2 + axes))
    turned = build.emit("Slice", weight, ends[0], ends[1], spatial, ends[2])
    kernel = build.integers(window.kernel)
    in_groups = build.concat(
        [build.integers([group, -1]), weight.dims(1, 2), kernel]
    )  # [G, M / G, C / G, …kernel]
    swapped = turned.reshape(in_groups).transpose([0, 2, 1, *range(3, 3 + axes)])
    outputs = build.concat([build.integers([-1]), _per_group(weight, group), kernel])
    edges = zip(window.extents * 2, (*window.pads_begin, *window.pads_end), strict=True)
    return build.emit(
        "Conv",
        g,
        swapped.reshape(outputs),
        pads=[reach - 1 - pad for reach, pad in edges],
        dilations=list(window.dilations),
        kernel_shape=list(window.kernel),
        group=group,
    )


def _per_group(weight: Value, group: int) -> Value:
    """M / G, the output channels of each group, INT64 [1]."""
    return weight.dims(0, 1) / weight.builder.integers([group])


def upsampled(y: Value, window: Window) -> Value:
    """Each window's value at all elements of it, for windows that tile; float32."""
    build = y.builder
    scales = build.constant(np.array([1, 1, *window.kernel], np.float32))
    return build.emit(
        "Resize", y, Value(build, ""), scales, mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


def static_lengths(x: Value) -> list[int] | None:
    """The spatial lengths of [N, C, …], if all are known while building."""
    if x.shape is None:
        return None
    lengths = [d for d in x.shape[2:] if isinstance(d, int)]
    return lengths if len(lengths) == len(x.shape) - 2 else None
