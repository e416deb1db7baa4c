"""What a model version takes and gives."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from services.inference.scheduling import Array
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
            of the others, so that requests may share a run.
    """

    model: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_rowwise: bool

    @cached_property
    def input_positions(self) -> dict[str, int]:
        return {spec.name: i for i, spec in enumerate(self.inputs)}

    @cached_property
    def output_positions(self) -> dict[str, int]:
        return {spec.name: i for i, spec in enumerate(self.outputs)}

    @cached_property
    def has_fixed_cost(self) -> bool:
        """The cost of a run depends on nothing but its number of rows."""
        start = 1 if self.is_rowwise else 0
        return all(-1 not in spec.shape[start:] for spec in self.inputs)

    @property
    def label(self) -> str:
        """What messages call the model version."""
        return f"model {self.model!r} version {self.version}"

    def rows(self, feeds: Sequence[Array | None]) -> int:
        """What a request counts for: its examples, or 1 where axis 0 does not count them.

        Raises:
            InvalidTensor: the inputs disagree about the number of rows, or have none.
        """
        if not self.is_rowwise:
            return 1
        given = [(s, f) for s, f in zip(self.inputs, feeds, strict=True) if f is not None]
        (first, feed), *others = given
        rows = len(feed)
        for spec, feed in others:
            if len(feed) != rows:
                raise self.invalid(
                    spec.name,
                    f"{len(feed)} rows, but input {first.name!r} has {rows}; "
                    "all inputs of a request have equally many",
                )
        if rows == 0:
            raise self.invalid(first.name, "0 rows; at least 1 is needed")
        return rows

    def form(self, feeds: Sequence[Array | None]) -> Hashable:
        """Requests of equal form can be concatenated along axis 0."""
        if self.has_fixed_cost:
            return None  # all are alike
        return tuple(None if feed is None else feed.shape[1:] for feed in feeds)

    def invalid(self, name: str, problem: str, kind: str = "input") -> InvalidTensor:
        """An error about a tensor of a request."""
        message = f"{self.label}: {kind} {name!r:.200}: {problem}"
        return InvalidTensor(message, field=f"{kind}s.{name:.200}")


def describe(specs: Sequence[TensorSpec]) -> str:
    """The tensors as error messages list them: `'image' (FP32 [-1, 1, 28, 28])`."""
    return ", ".join(f"{s.name!r} ({s.datatype} {list(s.shape)})" for s in specs) or "none"
