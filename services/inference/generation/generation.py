"""One text on its way: what it is fed, what it has said, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

import numpy as np

from services.inference.generation.asking import Asked
from services.inference.generation.pieces import Pieces
from services.inference.generation.sampling import Chance, Sampling
from services.inference.generation.writer import Writer
from services.inference.scheduling.batching import R
from services.inference.scheduling.scheduler import Array

STOP, LENGTH = "stop", "length"
_SHORT = 4_096  # characters


class Generation(Generic[R]):
    """The tokens of one request; its states are a row of the stepper.

    Attributes:
        request: whose caller is told.
        token: that the next step is fed.
        is_speaking: the prompt is used up, so that the next step's logits are of a new token.
        joined_ns: when it got a row.
        count: how many tokens it has said.
    """

    __slots__ = (
        "_asked", "_log_probabilities", "_pieces", "_prompt", "_texts", "_tokens", "_writer",
        "chance", "count", "has_begun", "is_speaking", "joined_ns", "request", "token",
    )  # fmt: skip

    def __init__(self, request: R, asked: Asked, writer: Writer) -> None:
        """A generation that has neither read nor said anything; `begin` must follow."""
        self.request = request
        self._asked = asked
        self._writer = writer
        self._prompt: list[int] = []
        self._pieces = Pieces(asked.stops, is_stripped=writer.strips(asked))
        self.chance = Chance(asked.sampling.seed)
        self.joined_ns = 0
        self.count = 0
        self._texts: list[str] = [writer.echo(asked)] if asked.is_echoed else []
        self._tokens: list[int] = []
        self._log_probabilities: list[float] = []
        self.has_begun = False

    @property
    def sampling(self) -> Sampling:
        return self._asked.sampling

    @property
    def is_quickly_begun(self) -> bool:
        """What it is given is short, or needs not be taken apart."""
        return len(self._asked.text or "") <= _SHORT

    def begin(self) -> None:
        """Take the prompt apart, of which the next step is fed the first token.

        Raises:
            InvalidArgument: the prompt is not one of the model's.
            TooLarge: it is too long.
        """
        self._prompt = self._writer.prompt(self._asked)[::-1]  # the next is last
        self.has_begun = True
        self.feed()

    def feed(self) -> None:
        """Go on to the prompt's next token."""
        self.token = self._prompt.pop()
        self.is_speaking = not self._prompt

    def draw(self) -> float:
        """A number of its own chance, where one is needed."""
        return self.chance.draw() if self._asked.sampling.temperature else 0.0

    def say(self, token: int, log_probability: float) -> tuple[list[Array] | None, bool]:
        """The next token.

        Returns:
            What the caller is to be told now, None where it is told when all is said; and whether
            it is the last.
        """
        self.token = token
        self.count += 1
        pieces = self._pieces
        if token == self._writer.end:
            text, reason = pieces.end(), STOP
        else:
            text = pieces.add(self._writer.contents[token])
            reason = STOP if pieces.is_stopped else ""
            if not reason and self.count == self._asked.max_tokens:
                text, reason = text + pieces.end(), LENGTH
        if self._asked.is_streamed:
            return _answer(text, [token], [log_probability], reason), bool(reason)
        self._texts.append(text)
        self._tokens.append(token)
        self._log_probabilities.append(log_probability)
        if not reason:
            return None, False
        text = "".join(self._texts)
        return _answer(text, self._tokens, self._log_probabilities, reason), True


def _answer(
    text: str, tokens: Sequence[int], log_probabilities: Sequence[float], reason: str
) -> list[Array]:
    """In the order of `asking.OUTPUTS`."""
    return [
        np.array([text.encode()], object),
        np.array(tokens, np.int64),
        np.array(log_probabilities, np.float32),
        np.array([reason.encode()], object),
    ]
