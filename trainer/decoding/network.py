"""What a network that writes sequences offers, whatever it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

MAX_WRITTEN = 65_536
"""Tokens that one call of a language model writes at most: its rows hold the server until then."""


@dataclass(frozen=True)
class State:
    """What one step leaves to the next.

    Attributes:
        name: of the step graph's input; its output is `next_` and the name.
        shape: of one row.
        datatype: of the Open Inference Protocol.
    """

    name: str
    shape: tuple[int, ...]
    datatype: Literal["FP32", "INT64"] = "FP32"

    @property
    def output(self) -> str:
        return f"next_{self.name}"

    @property
    def dtype(self) -> torch.dtype:
        return torch.int64 if self.datatype == "INT64" else torch.float32

    def zeros(self, rows: int) -> Tensor:
        """Of the first step, where nothing else is said; (N, *shape)."""
        return torch.zeros(rows, *self.shape, dtype=self.dtype)


@runtime_checkable
class Writer(Protocol):
    """A network that writes tokens with nothing given: a language model.

    Rows are independent. A sequence's first states are zeros.
    """

    @property
    def states(self) -> tuple[State, ...]:
        """In the order in which `step` takes and gives them."""

    def step(self, token: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Reads one token and says what follows.

        Shape:
            token:  (N, 1) int64.
            states: (N, …) each.
            output: logits (N, V), and the new states.
        """


@runtime_checkable
class Translator(Protocol):
    """A network that writes tokens about a source: an encoder and a decoder."""

    @property
    def memories(self) -> tuple[str, ...]:
        """Names of what `memory` answers; of one that attends, S is the first's second axis."""

    @property
    def states(self) -> tuple[State, ...]:
        """In the order in which `begin` and `step` give them."""

    def memory(self, source: Tensor) -> tuple[Tensor, ...]:
        """What is computed once of the source, and stays; (N, …) each."""

    def begin(self, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The states before the first step; (N, …) each."""

    def step(
        self, token: Tensor, states: tuple[Tensor, ...], memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """Reads one token and says what follows.

        Shape:
            token:  (N, 1) int64.
            states: (N, …) each.
            memory: (N, …) each.
            output: logits (N, V), the new states, and where it looked, (N, S), if anywhere.
        """


@dataclass(frozen=True)
class Marks:
    """Ids with a meaning of their own.

    Attributes:
        begin: what the first step reads; None: a text's first own token.
        end: after which a text has nothing; None: it has no end.
        padding: in the place of tokens that are not there.
    """

    begin: int | None
    end: int | None
    padding: int = 0
