"""The model under attack: what it says, how its answer slopes, and how often it was asked.

What an attack climbs is the margin m = log Σ_{j≠y} exp z_j − z_y of the logits z over the true
class y, or −m of a wanted class. The cross-entropy is log(1 + exp m), so both have the same
direction everywhere, but the margin's gradient does not vanish where the softmax saturates: in
float32 the cross-entropy of a confident answer has a gradient of zero or, worse, one that has lost
the true class's part.
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array, Predict
from services.explanation.attributions.saliency import Gradient


class Victim:
    """A model, and what is to become of N rows of it.

    Attributes:
        classes: [N]: the true ones, to be left; if targeted, the wanted ones, to be reached.
        is_targeted: Whether `classes` are wanted.
        queries: [N], how often the model was run on each row.
        gradients: [N], how often its gradient was.
    """

    def __init__(
        self,
        predict: Predict,
        gradient: Gradient,
        classes: Array,
        *,
        is_targeted: bool,
        unmoved: Array | None = None,
    ) -> None:
        """A victim nobody has asked yet; `unmoved` are the rows' own logits, where known."""
        self._predict = predict
        self._gradient = gradient
        self.classes = classes
        self.is_targeted = is_targeted
        self._unmoved = unmoved
        self.queries = np.zeros(len(classes), np.int64)
        self.gradients = np.zeros(len(classes), np.int64)

    @property
    def all(self) -> Array:
        """Every row's index."""
        return np.arange(len(self.classes))

    def logits(self, rows: Array, which: Array) -> Array:
        """[n, K] of moved rows [n, …]; `which` [n] says whose they are."""
        np.add.at(self.queries, which, 1)
        return self._predict(rows)

    def unmoved(self, rows: Array) -> Array:
        """[N, K] of the rows as they are, which need not be run again where they have been."""
        if self._unmoved is None:
            return self.logits(rows, self.all)
        self.queries += 1
        return self._unmoved

    def slope(self, rows: Array, weights: Array, which: Array) -> Array:
        """∂(Σ weights · logits)/∂rows of the rows' shape, float64; weights are [n, K]."""
        np.add.at(self.gradients, which, 1)
        return self._gradient(rows, weights).astype(np.float64)

    def climb(self, rows: Array, logits: Array, which: Array) -> Array:
        """The slope of what is climbed."""
        slope = self.slope(rows, margin_weights(logits, self.classes[which]), which)
        return -slope if self.is_targeted else slope

    def heights(self, logits: Array, which: Array) -> Array:
        """What is climbed: float64 [n]."""
        margin = margins(logits, self.classes[which])
        return -margin if self.is_targeted else margin

    def is_fooled(self, logits: Array, which: Array) -> Array:
        """Bool [n]: the wanted class is predicted, or another than the true one."""
        hit: Array = (logits.argmax(axis=1) == self.classes[which]) == self.is_targeted
        return hit


def margins(logits: Array, classes: Array) -> Array:
    """What is climbed untargeted: log Σ_{j≠y} exp z_j − z_y, float64 [N]."""
    chosen = _chosen(logits, classes)
    wide = logits.astype(np.float64)
    others = np.where(chosen, -np.inf, wide)
    highest = others.max(axis=1, keepdims=True)
    total = np.log(np.exp(others - highest).sum(axis=1)) + highest[:, 0]
    margin: Array = total - wide[chosen]
    return margin


def margin_weights(logits: Array, classes: Array) -> Array:
    """∂m/∂z: the softmax over all classes but y, and −1 at y. [N, K] in the logits' type."""
    chosen = _chosen(logits, classes)
    others = np.where(chosen, -np.inf, logits.astype(np.float64))
    weights = np.exp(others - others.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    weights[chosen] = -1
    typed: Array = weights.astype(logits.dtype)
    return typed


def one_hot(classes: Array, count: int, dtype: np.dtype[np.generic]) -> Array:
    """[N, K]: one at each row's class."""
    hot = np.zeros((len(classes), count), dtype)
    hot[np.arange(len(classes)), classes] = 1
    return hot


def _chosen(logits: Array, classes: Array) -> Array:
    return one_hot(classes, logits.shape[1], np.dtype(bool))
