"""Runs a step graph over rows that come and go, whose states stay in place between the steps.

What one step gives is what the next is fed, so there are two buffers for a state and each step
reads one and writes the other: nothing is copied and nothing allocated while the rows stay the
same. A large state that may be written over what is read, such as a ring of keys that gets one
entry a step, has one buffer, and the rest of it stays untouched. Rows are the first ones of the
buffers, without a gap; who leaves is replaced by the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wintergarden.errors import InvalidArgument, Overloaded
from wintergarden.runtime.datatypes import TensorSpec
from wintergarden.wire.tensors import dtype_of

Array = np.ndarray[Any, np.dtype[Any]]
# Runs a binding, and raises the errors of `wintergarden.errors`.
RunBound = Callable[[Any], None]

_UNBOUND = ("BYTES", "BF16")
# Of a row's state: below it, to copy is cheaper than to find out.
_LARGE_BYTES = 4096
_TRIAL_ROWS, _TRIAL_STEPS, _TRIALS = 3, 2, 2
_TRIAL_NUMBERS = 512


class Stepper:
    """A graph of one token in, one result out, and states. For one thread.

    Attributes:
        max_rows: of one step.
        rows: that there are.
        width: of the result.
    """

    def __init__(
        self,
        inner: Any,
        run: RunBound,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        states: Sequence[tuple[str, str]],
        *,
        token: str,
        result: str,
        max_rows: int,
    ) -> None:
        """Runs the graph once, with zeros, to see that it is what it is said to be.

        Args:
            inner: ONNX Runtime's session.
            run: runs a binding of it.
            inputs: of the graph; `token` and the states' and no others.
            outputs: of the graph.
            states: names of the input and the output of each.
            token: the input, INT64 [-1, 1].
            result: the output that each step is run for, FP32 [-1, any].
            max_rows: of one step.

        Raises:
            InvalidArgument: the graph has other tensors, or a state changes its shape.
        """
        self._inner, self._run = inner, run
        self._token, self._result = token, result
        self._names = tuple(states)
        specs = {spec.name: spec for spec in inputs}
        _check(specs, {spec.name: spec for spec in outputs}, self._names, token, result)
        self._shapes = tuple(specs[name].shape[1:] for name, _ in self._names)
        self._dtypes = tuple(dtype_of(specs[name].datatype, name) for name, _ in self._names)
        self.max_rows = max_rows
        self.rows = 0
        self._turn = 0  # which of the two buffers is read
        self.width = self._try()
        self._in_place = (False,) * len(self._names)
        self._in_place = self._find_in_place()
        self.release()

    @property
    def row_bytes(self) -> int:
        """Memory that a row takes."""
        counts = (1 if alone else 2 for alone in self._in_place)
        return sum(size * count for size, count in zip(self._sizes, counts, strict=True))

    @property
    def in_place(self) -> tuple[str, ...]:
        """Inputs of the states that are written over what is read."""
        return tuple(n for (n, _), alone in zip(self._names, self._in_place, strict=True) if alone)

    @property
    def _sizes(self) -> list[int]:
        return [
            int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            for shape, dtype in zip(self._shapes, self._dtypes, strict=True)
        ]

    @property
    def is_full(self) -> bool:
        return self.rows >= self.max_rows

    def join(self) -> int:
        """A new last row, its states zeros; its number.

        Raises:
            InvalidArgument: there are `max_rows` of them already.
            MemoryError: there is no room for it; the others are as before.
        """
        if self.is_full:
            raise InvalidArgument(f"{self.rows} rows; at most {self.max_rows} are stepped together")
        if self.rows == self._capacity:
            self._grow()
        row = self.rows
        for buffer in self._buffers[self._turn]:
            buffer[row] = 0
        self.rows += 1
        return row

    def leave(self, row: int) -> None:
        """The row is gone; the last one has its number now."""
        self.rows -= 1
        if row != self.rows:
            for buffer in self._buffers[self._turn]:
                buffer[row] = buffer[self.rows]

    def step(self, tokens: Array) -> Array:
        """One step of every row.

        Args:
            tokens: (rows,) int64.

        Returns:
            (rows, width) float32; valid until the next step.

        Raises:
            InvalidTensor: a value that the graph does not take; no row can go on, for a state
                that is written in place may be half written.
            Overloaded: there is not memory enough; likewise.
        """
        self._tokens[: self.rows, 0] = tokens
        key = (self.rows, self._turn)
        binding = self._bindings.get(key)
        if binding is None:
            binding = self._bindings[key] = self._bind(*key)
        self._run(binding)
        self._turn = 1 - self._turn
        return self._results[: self.rows]

    def release(self) -> None:
        """Forget every row, and give the memory back."""
        self.rows = self._turn = 0
        self._allocate(0)

    def _grow(self) -> None:
        kept = self._buffers[self._turn]
        self._allocate(min(self.max_rows, max(1, 2 * self._capacity)))
        for buffer, rows in zip(self._buffers[self._turn], kept, strict=True):
            buffer[: self.rows] = rows[: self.rows]

    def _allocate(self, capacity: int) -> None:
        """New memory for everything; the old stays where it is when there is not enough."""
        first = self._empty(capacity)
        second = tuple(
            buffer if alone else np.empty_like(buffer)
            for buffer, alone in zip(first, self._in_place, strict=True)
        )
        tokens = np.zeros((capacity, 1), np.int64)
        results = np.empty((capacity, self.width), np.float32)
        self._bindings: dict[tuple[int, int], Any] = {}  # by rows, and which buffers are read
        self._buffers, self._tokens, self._results = (first, second), tokens, results
        self._capacity = capacity

    def _empty(self, rows: int) -> tuple[Array, ...]:
        return tuple(
            np.empty((rows, *shape), dtype)
            for shape, dtype in zip(self._shapes, self._dtypes, strict=True)
        )

    def _bind(self, rows: int, turn: int) -> Any:
        binding = self._inner.io_binding()
        _bind_to(binding.bind_input, self._token, self._tokens[:rows])
        _bind_to(binding.bind_output, self._result, self._results[:rows])
        for (source, target), read, written in zip(
            self._names, self._buffers[turn], self._buffers[1 - turn], strict=True
        ):
            _bind_to(binding.bind_input, source, read[:rows])
            _bind_to(binding.bind_output, target, written[:rows])
        return binding

    def _find_in_place(self) -> tuple[bool, ...]:
        """Large states whose successor may lie where they lie: the answers are the same bits.

        ONNX Runtime runs a graph's nodes in one order, so whether any of them reads a state when
        its successor is there already shows in every run with values that differ everywhere.
        """
        large = [size >= _LARGE_BYTES for size in self._sizes]
        nothing = (False,) * len(large)
        found = nothing
        if not any(large):
            return nothing
        try:
            for trial in range(_TRIALS):
                expected = self._walk(nothing, trial)
                if not trial:
                    alone = [tuple(i == k for k in range(len(large))) for i in range(len(large))]
                    found = tuple(
                        is_large and _equal(self._walk(one, trial), expected)
                        for is_large, one in zip(large, alone, strict=True)
                    )
                if not _equal(self._walk(found, trial), expected):
                    return nothing
        except (InvalidArgument, Overloaded):
            return nothing  # values that were made up do not suit every graph
        return found

    def _walk(self, in_place: tuple[bool, ...], seed: int) -> list[Array]:
        """The results of some steps, and the states after them, from states that are made up."""
        rng = np.random.default_rng(seed)
        self._in_place = in_place
        self._allocate(_TRIAL_ROWS)
        self.rows, self._turn, results = _TRIAL_ROWS, 0, []
        for buffer in self._buffers[0]:
            numbers = rng.integers(0, _TRIAL_NUMBERS, buffer.shape)
            buffer[...] = rng.standard_normal(buffer.shape) if buffer.dtype.kind == "f" else numbers
        for step in range(_TRIAL_STEPS):
            results.append(self.step(np.full(_TRIAL_ROWS, step)).copy())
        return results + [buffer.copy() for buffer in self._buffers[self._turn]]

    def _try(self) -> int:
        """The width of the result, from a step of two rows, which shows a batch that is fixed."""
        names = [self._result, *(output for _, output in self._names)]
        binding = self._inner.io_binding()
        feeds = [np.zeros((2, 1), np.int64)]
        feeds += [
            np.zeros((2, *shape), dtype)
            for shape, dtype in zip(self._shapes, self._dtypes, strict=True)
        ]
        for name, feed in zip((self._token, *(n for n, _ in self._names)), feeds, strict=True):
            _bind_to(binding.bind_input, name, feed)
        for name in names:
            binding.bind_output(name, "cpu")
        self._run(binding)
        result, *after = [value.numpy() for value in binding.get_outputs()]
        for (_, name), feed, given in zip(self._names, feeds[1:], after, strict=True):
            if given.shape != feed.shape:
                raise InvalidArgument(
                    f"output {name!r} of a step of {list(feed.shape)} has shape "
                    f"{list(given.shape)}; a state keeps its shape"
                )
        if result.ndim != 2 or len(result) != 2 or result.dtype != np.float32:
            raise InvalidArgument(
                f"output {self._result!r} of a step of 2 rows is {result.dtype} "
                f"{list(result.shape)}, needed is float32 [2, any]"
            )
        return int(result.shape[1])


def _equal(got: Sequence[Array], expected: Sequence[Array]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(got, expected, strict=True))


def _check(
    inputs: dict[str, TensorSpec],
    outputs: dict[str, TensorSpec],
    states: Sequence[tuple[str, str]],
    token: str,
    result: str,
) -> None:
    needed = {token, *(name for name, _ in states)}
    if needed != set(inputs):
        raise InvalidArgument(
            f"a step takes {', '.join(map(repr, sorted(needed)))}; the graph's inputs are "
            f"{', '.join(map(repr, inputs))}"
        )
    for name in (result, *(name for _, name in states)):
        if name not in outputs:
            raise InvalidArgument(
                f"a step gives {name!r}; the graph's outputs are {', '.join(map(repr, outputs))}"
            )
    if (inputs[token].datatype, inputs[token].shape) != ("INT64", (-1, 1)):
        spec = inputs[token]
        raise InvalidArgument(
            f"input {token!r} is {spec.datatype} {list(spec.shape)}, needed is INT64 [-1, 1]"
        )
    for source, target in states:
        spec = inputs[source]
        if spec.datatype in _UNBOUND or spec.datatype != outputs[target].datatype:
            raise InvalidArgument(
                f"state {source!r} is {spec.datatype} and {target!r} {outputs[target].datatype}; "
                f"they must be the same, and neither of {', '.join(_UNBOUND)}"
            )
        if not spec.shape or spec.shape[0] != -1 or min(spec.shape[1:], default=1) < 1:
            raise InvalidArgument(
                f"state {source!r} has shape {list(spec.shape)}; needed are rows of one fixed shape"
            )


def _bind_to(bind: Callable[..., None], name: str, array: Array) -> None:
    """To the array's own memory, on whatever device the graph runs."""
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
