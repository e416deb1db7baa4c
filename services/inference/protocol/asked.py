"""A request as the model sees it: what reading it gives, and what writing its answer needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from services.inference.protocol.request_parameters import Place
from services.inference.protocol.shared_memory import Region
from services.inference.scheduling.scheduler import Array, SequenceControl


@dataclass(slots=True)
class Destination:
    """Where in shared memory an output goes."""

    region: Region
    place: Place


Forms = Mapping[int, int | Destination]
AS_THEY_ARE: Forms = MappingProxyType({})


@dataclass(slots=True)
class Asked:
    """A request as the model sees it.

    Attributes:
        feeds: one for each input in the model's order, None where an optional one is left out;
            read-only views of the request's bytes.
        outputs: positions of those to answer with, in the order asked for.
        forms: by position, what becomes of an output that does not go into the message as it is:
            how many of its classes to name, or where in shared memory to put it.
        priority: see `scheduling.Request`.
        timeout_us: see there.
        sequence: see there.
        wants_empty_final: the last answer of a decoupled model may come without outputs.
        version: of the model, as the request wrote it.
    """

    feeds: list[Array | None]
    outputs: tuple[int, ...]
    forms: Forms
    priority: int = 0
    timeout_us: int = 0
    sequence: SequenceControl | None = None
    wants_empty_final: bool = False
    version: str = ""
