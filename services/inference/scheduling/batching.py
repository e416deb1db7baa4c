"""Which requests run together, and who gets which rows. Knows neither models nor transports."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from services.inference.scheduling.scheduler import Array, Request

R = TypeVar("R", bound=Request)


def batches(requests: Iterable[R], max_rows: int) -> Iterator[list[R]]:
    """Put requests of one form together, in order of arrival, up to `max_rows` rows.

    A request of more rows than that is a batch of its own, and so is one of none, which not every
    model can run; with 0, so is every request.
    """
    filling: dict[Hashable, list[R]] = {}
    rows: dict[Hashable, int] = {}
    for request in requests:
        if not request.rows:
            yield [request]
            continue
        form = request.form
        batch = filling.get(form)
        if batch is not None:
            if rows[form] + request.rows <= max_rows:
                batch.append(request)
                rows[form] += request.rows
                continue
            yield batch
        filling[form] = [request]
        rows[form] = request.rows
    yield from filling.values()


def merge(batch: Sequence[Request]) -> list[Array | None]:
    """The feeds of one run: every input's arrays, one request after the other.

    A request's arrays may lie anywhere in its message, those of a run begin at whole elements.
    """
    if len(batch) == 1:
        return [f if f is None or f.flags.aligned else f.copy() for f in batch[0].feeds]
    columns = zip(*(r.feeds for r in batch), strict=True)
    return [_concatenated(column) for column in columns]


def _concatenated(arrays: Sequence[Array | None]) -> Array | None:
    given = [array for array in arrays if array is not None]
    return np.concatenate(given) if given else None


def split(outputs: Sequence[Array], batch: Sequence[Request]) -> Iterator[list[Array]]:
    """Each request's own rows of every output, in the order of the batch (views)."""
    start = 0
    for request in batch:
        stop = start + request.rows
        yield [output[start:stop] for output in outputs]
        start = stop
