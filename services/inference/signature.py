"""What a model version takes and gives."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from services.inference.scheduling.scheduler import Array
from wintergarden.errors import InvalidTensor
from wintergarden.runtime import TensorSpec


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model version, as requests are held to them.

    Attributes:
        model: its name.
        version: its version, as text like on the wire.
        inputs: in the graph's order; -1 in a shape is any size.
        outputs: in the graph's order.
        is_rowwise: axis 0 of every tensor counts examples, and each is answered independently
            of the others, so that requests may share a run. Optional inputs are excepted: they
            may be weights, so a request that gives one runs alone.
        labels: names of an output's elements, for the classification extension.
        ranges: lowest and highest value of inputs of whole numbers, such as the ids of tokens:
            what lies outside would be looked up somewhere else, or nowhere.
    """

    model: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_rowwise: bool
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @cached_property
    def input_positions(self) -> dict[str, int]:
        return {spec.name: i for i, spec in enumerate(self.inputs)}

    @cached_property
    def output_positions(self) -> dict[str, int]:
        return {spec.name: i for i, spec in enumerate(self.outputs)}

    @cached_property
    def all_outputs(self) -> tuple[int, ...]:
        return tuple(range(len(self.outputs)))

    @cached_property
    def has_fixed_cost(self) -> bool:
        """The cost of a run depends on nothing but its number of rows."""
        start = 1 if self.is_rowwise else 0
        return not any(-1 in s.shape[start:] or s.is_optional for s in self.inputs)

    @property
    def label(self) -> str:
        """What messages call the model version."""
        return f"model {self.model!r} version {self.version}"

    @cached_property
    def has_optional(self) -> bool:
        """Requests may come without any input that has rows, or with one that has none."""
        return not self.inputs or any(spec.is_optional for spec in self.inputs)

    def rows(self, feeds: Sequence[Array | None]) -> int:
        """What a request counts for: its examples, or 1 where it runs alone and whole.

        Raises:
            InvalidTensor: the inputs disagree about the number of rows.
        """
        if not self.is_rowwise or (self.has_optional and self._runs_alone(feeds)):
            return 1
        first, rows = "", -1
        for spec, feed in zip(self.inputs, feeds, strict=True):
            if feed is None or rows == (size := len(feed)):
                continue
            if rows >= 0:
                raise self.invalid(
                    spec.name,
                    f"{size} rows, but input {first!r} has {rows}; "
                    "all inputs of a request have equally many",
                )
            first, rows = spec.name, size
        return rows

    def check_values(self, feeds: Sequence[Array | None]) -> None:
        """Hold the inputs to their ranges.

        Raises:
            InvalidTensor: a value lies outside.
        """
        for name, (low, high) in self.ranges.items():
            feed = feeds[self.input_positions[name]]
            if feed is None or not feed.size:
                continue
            lowest, highest = int(feed.min()), int(feed.max())
            if lowest < low or highest > high:
                wrong = lowest if lowest < low else highest
                raise self.invalid(name, f"value {wrong}, allowed are {low} to {high}")

    def form(self, feeds: Sequence[Array | None]) -> Hashable:
        """Requests of equal form can be concatenated along axis 0."""
        if self.has_optional and self._runs_alone(feeds):
            return object()  # equal to no other
        if self.has_fixed_cost:
            return None  # all are alike
        return tuple(None if feed is None else feed.shape[1:] for feed in feeds)

    def _runs_alone(self, feeds: Sequence[Array | None]) -> bool:
        """It gives an optional input, or nothing that has rows."""
        given = [s.is_optional for s, f in zip(self.inputs, feeds, strict=True) if f is not None]
        return any(given) or not given

    def invalid(self, name: str, problem: str, kind: str = "input") -> InvalidTensor:
        """An error about a tensor of a request."""
        message = f"{self.label}: {kind} {name!r:.200}: {problem}"
        return InvalidTensor(message, field=f"{kind}s.{name:.200}")


def describe(specs: Sequence[TensorSpec]) -> str:
    """The tensors as error messages list them: `'image' (FP32 [-1, 1, 28, 28])`."""
    return ", ".join(f"{s.name!r} ({s.datatype} {list(s.shape)})" for s in specs) or "none"
