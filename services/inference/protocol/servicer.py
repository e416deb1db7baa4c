"""ModelInfer and ModelStreamInfer: from payloads to the schedulers of the models they name."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import structlog

from services.inference.protocol import codec
from services.inference.protocol.generation import asks_for_text, read_generation
from services.inference.protocol.inference_call import InferenceCall
from services.inference.protocol.known_requests import KnownRequests
from services.inference.protocol.metadata import SERVICE
from services.inference.protocol.mirror import mirror
from services.inference.protocol.request_parameters import read_sequence
from services.inference.protocol.shared_memory import Regions
from services.inference.protocol.streaming import Stream, StreamedInference, StreamedRequest
from services.inference.repository.repository import Model, Repository
from services.inference.scheduling.engine import Engine
from services.inference.scheduling.room import Room
from services.inference.scheduling.scheduler import Array
from services.inference.scheduling.statistics import Failure
from services.inference.tracing.sampling import Tracing
from wintergarden.errors import InvalidArgument, Overloaded, Unsupported, WintergardenError
from wintergarden.service.transport import (
    BidirectionalCall,
    Call,
    Route,
    bidirectional,
    parse,
)
from wintergarden.wire.pool import methods

INFER = methods(SERVICE)["ModelInfer"]

_log = structlog.get_logger(__name__)


class Servicer:
    """Reads requests and gives them to their models, those of one model that came together at once.

    What is wrong with one request fails one.
    """

    def __init__(
        self,
        repository: Repository,
        tracing: Tracing,
        regions: Regions | None = None,
        room: Room | None = None,
    ) -> None:
        """A servicer of the models in `repository`.

        Args:
            repository: has them.
            tracing: of the requests that are sampled.
            regions: of shared memory; None refuses requests that name one.
            room: that the models' queues share; None: they are never asked beforehand.
        """
        self._repository = repository
        self._tracing = tracing
        self._regions = regions
        self._room = room or Room()
        self._known = KnownRequests()

    def routes(self) -> list[Route]:
        return [
            Route(
                INFER.path,
                self.infer_one,
                is_inline=True,
                batch_handler=self.infer,
                refusal=self.refusal,
            ),
            bidirectional(SERVICE, "ModelStreamInfer", self.stream),
        ]

    def refusal(self, payload: bytes) -> Overloaded | None:
        """What is certain to be refused, as far as can be told without reading much."""
        if not self._room.has_full_queue:
            return None
        known = self._known.find(payload)
        model = None if known is None else self._repository.ready(known[0].name, known[0].version)
        # What has other schedulers may be answered from elsewhere, or waits in other queues.
        if model is None or not isinstance(model.scheduler, Engine):
            return None
        return model.scheduler.turn_away()

    def infer(self, calls: Sequence[Call]) -> None:
        """ModelInfer, for all calls that arrived together."""
        arrived_ns = perf_counter_ns()
        together: dict[Model, list[InferenceCall]] = {}
        for call in calls:
            try:
                inference = self._read(InferenceCall, call, arrived_ns)
                if inference.model.is_decoupled:
                    raise _needs_stream(inference.model)
            except Exception as error:
                _log.debug("not inferred", failure=Failure.OTHER, error=repr(error))
                call.fail(error)
            else:
                together.setdefault(inference.model, []).append(inference)
        for model, inferences in together.items():
            self._submit(model, inferences)
        for model, inferences in together.items():
            self._mirror(model, inferences)

    def infer_one(self, call: Call) -> None:
        self.infer([call])

    def stream(self, call: BidirectionalCall) -> None:
        """ModelStreamInfer, from a client's first message to the answer to its last."""
        Stream(call, self._infer_streamed).run()

    def _infer_streamed(self, request: StreamedRequest) -> None:
        try:
            inference = self._read(StreamedInference, request, perf_counter_ns())
            request.id = inference.id
        except Exception as error:
            request.id = _id_of(request.payload)
            _log.debug("not inferred", failure=Failure.OTHER, error=repr(error))
            request.fail(error)
        else:
            self._submit(inference.model, [inference])
            self._mirror(inference.model, [inference])

    def _read(self, make: type[Any], reply: Any, arrived_ns: int) -> Any:
        known = self._known.find(reply.payload)
        if known is not None:
            kind, request_id, feeds = known
            model = self._repository.resolve(kind.name, kind.version)
            if model.signature is kind.signature:
                _check_values(model, feeds)
                return make(
                    reply, request_id, model, kind.asked, feeds, kind.rows, kind.form, arrived_ns
                )
        request = parse(INFER, reply.payload)
        sequence = read_sequence(request.parameters) if request.parameters else None
        model = self._repository.resolve(request.model_name, request.model_version, sequence)
        signature = model.signature
        if model.generator is not None and asks_for_text(request):
            return self._read_generation(make, reply, request, model.generator, arrived_ns)
        try:
            asked = codec.read(request, signature, self._regions)
            rows, form = signature.rows(asked.feeds), signature.form(asked.feeds)
        except WintergardenError:
            model.scheduler.statistics.failed(Failure.OTHER)
            raise
        _check_values(model, asked.feeds)
        self._known.remember(reply.payload, request, signature, asked)
        return make(reply, request.id, model, asked, asked.feeds, rows, form, arrived_ns)

    def _read_generation(
        self,
        make: type[Any],
        reply: Any,
        request: Any,
        generator: Model,
        arrived_ns: int,
    ) -> Any:
        try:
            asked = read_generation(
                request, generator.signature, self._regions, on_stream=make is StreamedInference
            )
        except WintergardenError:
            generator.scheduler.statistics.failed(Failure.OTHER)
            raise
        return make(reply, request.id, generator, asked, asked.feeds, 1, None, arrived_ns)

    def _submit(self, model: Model, inferences: Sequence[InferenceCall]) -> None:
        if self._tracing.is_on:
            model.scheduler.submit(self._tracing.sample(model, inferences))
        else:
            model.scheduler.submit(inferences)

    def _mirror(self, model: Model, inferences: Sequence[InferenceCall]) -> None:
        """After everything that came together: a shadow may run here, and nobody waits for it."""
        shadow = self._repository.shadow(model.name)
        if shadow is not None:
            mirror(inferences, shadow)


def _check_values(model: Model, feeds: Sequence[Array | None]) -> None:
    if model.signature.ranges:
        try:
            model.signature.check_values(feeds)
        except InvalidArgument:
            model.scheduler.statistics.failed(Failure.OTHER)
            raise


def _needs_stream(model: Model) -> Unsupported:
    return Unsupported(
        f"{model.signature.label} may answer a request any number of times (decoupled); "
        "use ModelStreamInfer"
    )


def _id_of(payload: bytes) -> str:
    """Of a request that could not be read."""
    try:
        return str(parse(INFER, payload).id)
    except InvalidArgument:
        return ""
