"""The value of coalitions: what the model says when only some players are present."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array, Predict
from services.explanation.attributions.players import Players


@dataclass(frozen=True, eq=False)
class Game:
    """The game whose Shapley values explain a model.

    v(S) = mean over the background rows b of f(x on S, b elsewhere): the interventional
    expectation (Janzing, Minorics, Blöbaum, 2020, https://arxiv.org/abs/1910.13413).

    Attributes:
        predict: The model f.
        players: How M players divide an input row.
        background: [B, …]; a single row is what "absent" means literally.
        max_batch_bytes: Of the rows of one model call; at least B rows are sent. What fits into
            a core's cache beside the model's activations is faster than more.
    """

    predict: Predict
    players: Players
    background: Array
    max_batch_bytes: int = 1 << 19

    def empty_value(self) -> Array:
        """The value of nobody present, φ₀: float64 [K]."""
        mean: Array = self.predict(self.background).mean(axis=0, dtype=np.float64)
        return mean

    def full_values(self, rows: Array) -> Array:
        """The value of everybody present, f(x): float64 [N, K]."""
        return self.predict(rows).astype(np.float64)

    def values(self, rows: Array, masks: Array, targets: Array | None = None) -> Array:
        """The value of each coalition for each row [N, …]; all rows share the masks, bool [C, M].

        Returns:
            float64 [N, C, K]; [N, C, 1] if `targets` [N] picks an output for each row.
        """
        step = min(len(masks), max(1, self.max_batch_bytes // self.background.nbytes))
        # One buffer for all batches: fresh pages for each would cost more than filling them.
        mixed = np.empty((step, *self.background.shape), self.background.dtype)
        chunks = []
        for start in range(0, len(masks), step):
            present = masks[start : start + step][:, self.players.assignment]  # [c, …]
            values = []
            for index, row in enumerate(rows):
                every = self._values_of_row(row, present, mixed[: len(present)])
                chosen = slice(None) if targets is None else [int(targets[index])]
                values.append(every[:, chosen])
            chunks.append(np.stack(values))
        return np.concatenate(chunks, axis=1)

    def _values_of_row(self, row: Array, present: Array, mixed: Array) -> Array:
        """Float64 [c, K] for masks [c, …]; `mixed` [c, B, …] is overwritten."""
        mixed[...] = self.background
        np.copyto(mixed, row, where=present[:, None])
        outputs = self.predict(mixed.reshape(-1, *row.shape))
        outputs = outputs.reshape(len(present), len(self.background), -1)
        means: Array = outputs.mean(axis=1, dtype=np.float64)
        return means
