"""Shadow traffic: a version that answers nobody is given what the others are asked."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from time import perf_counter_ns

from services.inference.protocol.inference_call import InferenceCall
from services.inference.repository.repository import Model
from services.inference.scheduling.scheduler import Array, SequenceControl

_NO_VERSION = ("", "-1")  # as `Repository.resolve` has it


class MirroredRequest:
    """A `scheduling.Request` nobody waits for; what becomes of it shows in the statistics."""

    __slots__ = ("arrived_ns", "feeds", "form", "rows")

    priority = 0
    timeout_us = 0
    sequence: SequenceControl | None = None
    is_abandoned = False

    def __init__(self, original: InferenceCall) -> None:
        self.feeds: Sequence[Array | None] = original.feeds
        self.rows: int = original.rows
        self.form: Hashable = original.form
        # Not when the original did: its run may be over, and was no wait of the shadow's.
        self.arrived_ns: int = perf_counter_ns()

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        """Into the void."""

    def refuse(self, error: Exception) -> None:
        """Into the void too; the version's statistics have counted it."""


def mirror(requests: Sequence[InferenceCall], shadow: Model) -> None:
    """Give a shadow version copies of requests that name no version and that it could take.

    For requests that have been submitted, with all that came with them: a shadow may run inline,
    and nobody is to wait for it. Who asks for a version means that one and no other. The shadow's
    queue is bounded: what it cannot keep up with is refused there. Sequences are not mirrored, for
    a shadow that began in the middle of one would have no state.
    """
    copies = [
        MirroredRequest(request)
        for request in requests
        if request.sequence is None
        and request.version in _NO_VERSION
        and _fits(request.model, shadow)
    ]
    if copies:
        shadow.scheduler.submit(copies)


def _fits(model: Model, shadow: Model) -> bool:
    return shadow is not model and shadow.signature.inputs == model.signature.inputs
