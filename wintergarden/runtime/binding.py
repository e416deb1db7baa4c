"""Runs whose inputs go through buffers on the device that are kept from run to run.

A buffer belongs to one run at a time, so any number of threads may run at once; each finds or
makes a set of buffers for its shapes. Outputs are new for every run: their sizes may depend on
the values, and callers keep them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from wintergarden.runtime.library import onnxruntime

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = Mapping[str, Array]

_MAX_IDLE_BYTES = 256 * 2**20
_MAX_GRAPHS = 16  # each keeps its buffers and a memory pool for good
_NO_GRAPH = "-1"


class Buffers:
    """One set of input buffers, for inputs of certain shapes."""

    def __init__(self, inner: Any, feeds: Feeds, device: str, device_id: int) -> None:
        value = onnxruntime().OrtValue
        self.binding = inner.io_binding()
        self.nbytes = sum(feed.nbytes for feed in feeds.values())
        self._inputs = {
            name: value.ortvalue_from_shape_and_type(feed.shape, feed.dtype, device, device_id)
            for name, feed in feeds.items()
        }
        for name, buffer in self._inputs.items():
            self.binding.bind_ortvalue_input(name, buffer)

    def fill(self, feeds: Feeds) -> None:
        for name, buffer in self._inputs.items():
            buffer.update_inplace(np.asarray(feeds[name], order="C"))


class BoundRuns:
    """Runs a session through buffers that wait, by shape, for the next run."""

    def __init__(self, inner: Any, run_options: Any, device: str, device_id: int) -> None:
        self._inner = inner
        self._run_options = run_options
        self._device, self._device_id = device, device_id
        self._idle: OrderedDict[Hashable, list[Buffers]] = OrderedDict()
        self._idle_bytes = 0
        self._changing = threading.Lock()

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[Array]:
        """The outputs of those names, in memory of the CPU.

        Buffers of a run that failed are thrown away.
        """
        key = _shapes(feeds)
        buffers = self._take(key) or Buffers(self._inner, feeds, self._device, self._device_id)
        buffers.fill(feeds)
        binding = buffers.binding
        # ONNX Runtime would write into the last run's outputs, which belong to its callers.
        binding.clear_binding_outputs()
        for name in outputs:
            binding.bind_output(name, "cpu")
        self._inner.run_with_iobinding(binding, self._run_options)
        results: list[Array] = [value.numpy() for value in binding.get_outputs()]
        binding.clear_binding_outputs()
        self._give(key, buffers)
        return results

    def _take(self, key: Hashable) -> Buffers | None:
        with self._changing:
            waiting = self._idle.get(key)
            if not waiting:
                return None
            buffers = waiting.pop()
            self._idle_bytes -= buffers.nbytes
            return buffers

    def _give(self, key: Hashable, buffers: Buffers) -> None:
        with self._changing:
            self._idle.setdefault(key, []).append(buffers)
            self._idle.move_to_end(key)
            self._idle_bytes += buffers.nbytes
            while self._idle_bytes > _MAX_IDLE_BYTES:
                _, oldest = self._idle.popitem(last=False)
                self._idle_bytes -= sum(unused.nbytes for unused in oldest)


class GraphRuns:
    """Runs a session by CUDA graphs, one for each shape, one run after the other.

    A graph reads and writes the same addresses in every run, so its outputs are copied out of
    their buffers before the next run may begin. Shapes beyond the first 16 run without a graph.
    """

    def __init__(self, inner: Any, names: Sequence[str], device_id: int) -> None:
        """`names` are those of all outputs: a graph computes every one."""
        self._inner = inner
        self._names = list(names)
        self._device_id = device_id
        self._graphs: dict[Hashable, tuple[Buffers, Any]] = {}
        self._turn = threading.Lock()

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[Array]:
        """The outputs of those names, in memory of the CPU."""
        key = _shapes(feeds)
        with self._turn:
            buffers, run_options = self._graphs.get(key) or self._make(key, feeds)
            buffers.fill(feeds)
            self._inner.run_with_iobinding(buffers.binding, run_options)
            copies = dict(zip(self._names, buffers.binding.copy_outputs_to_cpu(), strict=True))
        return [copies[name] for name in outputs]

    def _make(self, key: Hashable, feeds: Feeds) -> tuple[Buffers, Any]:
        buffers = Buffers(self._inner, feeds, "cuda", self._device_id)
        for name in self._names:
            buffers.binding.bind_output(name, "cuda", self._device_id)
        number = len(self._graphs) + 1
        is_recorded = number <= _MAX_GRAPHS
        run_options = onnxruntime().RunOptions()
        run_options.add_run_config_entry("gpu_graph_id", str(number) if is_recorded else _NO_GRAPH)
        if is_recorded:
            self._graphs[key] = buffers, run_options
        return buffers, run_options


def _shapes(feeds: Feeds) -> Hashable:
    return tuple((name, feed.shape) for name, feed in feeds.items())
