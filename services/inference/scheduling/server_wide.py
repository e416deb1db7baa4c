"""What all models of a server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.inference.scheduling.resources import ResourcePool
from services.inference.scheduling.response_cache import ResponseCache
from services.inference.scheduling.room import Room
from services.inference.scheduling.timer import Timer
from services.inference.tracing.sampling import Tracing


@dataclass(frozen=True)
class ServerWide:
    """One of each, for every model of the process.

    Attributes:
        timer: refuses requests whose time is over.
        room: for the requests that wait.
        resources: what runs must hold while they run.
        response_cache: of the models that ask for it.
        tracing: of the requests that are sampled.
    """

    timer: Timer = field(default_factory=Timer)
    room: Room = field(default_factory=Room)
    resources: ResourcePool = field(default_factory=ResourcePool)
    response_cache: ResponseCache = field(default_factory=ResponseCache)
    tracing: Tracing = field(default_factory=Tracing)
