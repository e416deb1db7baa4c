"""Chooses the next token of every row: greedily, or by chance.

In the usual order: logits / temperature, of these the `top_k` largest, of these the fewest that
have `top_p` of the probability together (Holtzman et al., "The Curious Case of Neural Text
Degeneration", ICLR 2020, §3), and one of them by its probability. Each row has a stream of chance
of its own, so that what it draws does not depend on who else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.inference.scheduling.scheduler import Array

_DRAWN = 64  # numbers at a time: drawing one costs as much as drawing many


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one text are chosen.

    Attributes:
        temperature: 0 takes the most probable token always.
        top_k: only so many tokens come into question; 0: all. Equals of the last one stay too.
        top_p: only the most probable that have so much of the probability together; 1: all.
        seed: of chance; the same one gives the same text. None: another each time.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None


class Chance:
    """Numbers in [0, 1), of one seed."""

    def __init__(self, seed: int | None) -> None:
        self._rng = np.random.default_rng(seed)
        self._drawn: list[float] = []

    def draw(self) -> float:
        if not self._drawn:
            self._drawn = self._rng.random(_DRAWN).tolist()[::-1]
        return self._drawn.pop()


class Choices:
    """The settings of a batch's rows, as arrays; made anew when the rows are others."""

    def __init__(self, rows: list[Sampling]) -> None:
        """`rows`: of each row, at least one."""
        self._count = len(rows)
        self._sampled = np.flatnonzero([row.temperature > 0 for row in rows])
        chosen = [rows[i] for i in self._sampled]
        self._temperatures = np.array([row.temperature for row in chosen], np.float64)[:, None]
        self._top_k = [row.top_k for row in chosen]
        self._top_p = np.array([row.top_p for row in chosen], np.float64)
        self._cut_off = np.flatnonzero(self._top_p < 1)

    def choose(self, logits: Array, numbers: list[float]) -> tuple[Array, Array]:
        """The next token of each row, and how probable the model found it.

        Args:
            logits: (rows, tokens) float32.
            numbers: of each row's chance; one of a row that is not sampled is not looked at.

        Returns:
            tokens (rows,) int64, and their log-probabilities (rows,) float32: of the model as it
            is, before temperature and cuts.
        """
        tokens = logits.argmax(axis=1)
        if len(self._sampled):
            draws = np.array([numbers[i] for i in self._sampled])
            tokens[self._sampled] = self._draw(logits[self._sampled], draws)
        return tokens, log_probabilities(logits, tokens)

    def _draw(self, logits: Array, draws: Array) -> Array:
        # The largest is taken off first: divided by next to nothing, nothing overflows.
        scaled = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        with np.errstate(over="ignore"):  # to -inf, for what is never drawn then
            scaled /= self._temperatures
        width = scaled.shape[1]
        for row, k in enumerate(self._top_k):
            if 0 < k < width:
                least = np.partition(scaled[row], width - k)[width - k]
                scaled[row, scaled[row] < least] = -np.inf
        weights = np.exp(scaled)
        if len(self._cut_off):
            weights[self._cut_off] = _nucleus(weights[self._cut_off], self._top_p[self._cut_off])
        sums = weights.cumsum(axis=1)
        total = sums[:, -1]
        marks = np.minimum(draws * total, np.nextafter(total, 0))  # a product may round up to it
        # The first token whose sum is above the mark: its weight is what brought it there.
        tokens: Array = (sums <= marks[:, None]).sum(axis=1)
        return tokens


def _nucleus(weights: Array, top_p: Array) -> Array:
    """The weights with those of the least probable tokens set to 0."""
    ordered = np.sort(weights, axis=1)[:, ::-1]
    before = ordered.cumsum(axis=1) - ordered  # what the more probable ones have together
    is_kept = before < (top_p * ordered.sum(axis=1))[:, None]
    is_kept[:, 0] = True
    least = np.where(is_kept, ordered, np.inf).min(axis=1, keepdims=True)
    kept: Array = np.where(weights >= least, weights, 0)
    return kept


def log_probabilities(logits: Array, tokens: Array) -> Array:
    """Of one token a row, (rows,) float32."""
    chosen = logits[np.arange(len(tokens)), tokens]
    largest = logits.max(axis=1)
    normaliser = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
    found: Array = (chosen - normaliser).astype(np.float32)
    return found
