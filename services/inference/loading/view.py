"""A session as the clients of a model see it: their outputs, in their shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from services.inference.configuration import Reshape, Tensors
from services.inference.scheduling.engine import Session
from services.inference.scheduling.scheduler import Array


class View:
    """Stands between an engine and a session whose configuration reshapes or leaves out."""

    def __init__(self, session: Session, tensors: Tensors, outputs: Sequence[str]) -> None:
        """A view of `session`.

        Args:
            session: of the graph.
            tensors: what clients see of it.
            outputs: names of what a run gives, in this order.
        """
        self._session = session
        self._outputs = list(outputs)
        self._batch = 1 if tensors.is_batched else 0
        self._inputs = tensors.input_reshapes
        self._results = tensors.output_reshapes

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """As `Session.run`, in the clients' shapes."""
        wanted = self._outputs if outputs is None else outputs
        given = {n: self._turned(self._inputs.get(n), a, inward=True) for n, a in feeds.items()}
        results = self._session.run(given, wanted)
        return [
            self._turned(self._results.get(name), array, inward=False)
            for name, array in zip(wanted, results, strict=True)
        ]

    def _turned(self, reshape: Reshape | None, array: Array, *, inward: bool) -> Array:
        if reshape is None:
            return array
        given, wanted = reshape.outside, reshape.inside
        if not inward:
            given, wanted = wanted, given
        batch, shape = array.shape[: self._batch], array.shape[self._batch :]
        # The sizes left open are the same ones, in order.
        open_sizes = iter([n for n, limit in zip(shape, given, strict=True) if limit == -1])
        sizes = tuple(next(open_sizes) if n == -1 else n for n in wanted)
        if math.prod(sizes) != math.prod(shape):
            return array  # an output that is not what the configuration says: seen as it is
        return array.reshape(batch + sizes)


def view_of(
    session: Session, tensors: Tensors, graph_outputs: Sequence[str], outputs: Sequence[str]
) -> Session:
    """The session itself where clients see all of it as it is."""
    if not (tensors.input_reshapes or tensors.output_reshapes) and list(graph_outputs) == list(
        outputs
    ):
        return session
    return View(session, tensors, outputs)
