"""Clients of the inference service, in a process of their own; prints what they saw as JSON.

    python tests/load/client.py '{"targets": ["127.0.0.1:8501"], "model": "tiny", "seconds": 2}'

SIGTERM ends it before its time, when what was sent is answered.

Models have the input `x` and the outputs `own`, which equals it, and `version`, which holds the
number of the version that answered in every row: so each answer tells whose rows it has and which
version, or versions, it is from.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2

from wintergarden.service.errors import DETAILS_KEY
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

INFER = methods("inference.GRPCInferenceService")["ModelInfer"]
_CONNECTIONS = 4
_CASES = 64
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.02, 0.5
# The second, when nobody here has cancelled, in the very last moment of a stop of grpcio.
_REPEATABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@dataclass(frozen=True)
class Plan:
    """What the clients do.

    Attributes:
        targets: servers; a call goes to one of them, and its repetition to the next.
        clients: each sends its next request when its last was answered.
        rate: requests per second whether or not answers come, instead of that; 0: not so.
        seconds: for how long.
        requests: how many, at most; 0: no bound.
        rows: of a request, at most.
        fill: what every number in a request is, instead of random ones.
        timeout_s: the deadline of a request.
        cancel_after_s: when the caller hangs up; 0: never.
        patience_s: for how long a request that met a stopping server is repeated, as
            docs/protocol.md says.
    """

    targets: list[str]
    model: str
    clients: int = 1
    rate: float = 0
    seconds: float = 3600
    requests: int = 0
    rows: int = 1
    fill: float | None = None
    timeout_s: float = 60
    cancel_after_s: float = 0
    patience_s: float = 0
    seed: int = 0


@dataclass
class Seen:
    """What became of the requests.

    Attributes:
        wrong: answers that are not the request's own rows.
        mixed: answers whose rows, or whose header, name different versions.
        errors: by status code, after all repetitions.
        undetailed: RESOURCE_EXHAUSTED without RetryInfo.
    """

    sent: int = 0
    answered: int = 0
    wrong: int = 0
    mixed: int = 0
    repeated: int = 0
    undetailed: int = 0
    seconds: float = 0
    errors: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    message: str = ""
    latencies_ms: list[float] = field(default_factory=list)
    rejections_ms: list[float] = field(default_factory=list)


class Case:
    """A request and the rows it must get back."""

    def __init__(self, plan: Plan, seed: int) -> None:
        rng = np.random.default_rng((plan.seed, seed))
        x = rng.standard_normal((int(rng.integers(1, plan.rows + 1)), 4), np.float32)
        if plan.fill is not None:
            x[:] = plan.fill
        self._values = x.tobytes()
        self._rows = len(x)
        request = pb.ModelInferRequest(model_name=plan.model)
        request.inputs.add(name="x", datatype="FP32", shape=x.shape)
        request.raw_input_contents.append(self._values)
        self.body = request.SerializeToString()

    def check(self, response: pb.ModelInferResponse, seen: Seen) -> None:
        own, versions = response.raw_output_contents
        seen.wrong += own != self._values
        numbers = np.frombuffer(versions, np.float32)
        expected = float(response.model_version)
        seen.mixed += len(numbers) != self._rows or bool((numbers != expected).any())
        seen.versions[response.model_version] += 1


class Clients:
    """Sends what the plan says and writes down what came back."""

    def __init__(self, plan: Plan) -> None:
        self.seen = Seen()
        self._plan = plan
        self._is_over = False
        self._cases = [Case(plan, seed) for seed in range(_CASES)]
        self._calls = [
            grpc.aio.insecure_channel(
                target,
                options=[
                    ("grpc.use_local_subchannel_pool", 1),
                    ("grpc.initial_reconnect_backoff_ms", 50),
                    ("grpc.max_reconnect_backoff_ms", 500),
                    ("wintergarden.load.connection", i),
                ],
            ).unary_unary(INFER.path, response_deserializer=INFER.response.FromString)
            for i in range(_CONNECTIONS)
            for target in plan.targets
        ]

    async def run(self) -> None:
        plan = self._plan
        started = time.perf_counter()
        if plan.rate:
            await self._at_a_rate(started)
        else:
            until = started + plan.seconds
            await asyncio.gather(*(self._in_turn(until) for _ in range(plan.clients)))
        self.seen.seconds = time.perf_counter() - started

    def end(self) -> None:
        self._is_over = True

    async def _in_turn(self, until: float) -> None:
        limit = self._plan.requests or sys.maxsize
        while not self._is_over and time.perf_counter() < until and self.seen.sent < limit:
            await self._request()

    async def _at_a_rate(self, started: float) -> None:
        plan = self._plan
        async with asyncio.TaskGroup() as group:
            for number in range(int(plan.rate * plan.seconds)):
                if self._is_over:
                    break
                delay = started + number / plan.rate - time.perf_counter()
                if delay > 0:
                    await asyncio.sleep(delay)
                group.create_task(self._request())

    async def _request(self) -> None:
        seen, plan = self.seen, self._plan
        number = seen.sent
        seen.sent += 1
        case = self._cases[number % _CASES]
        sent = time.perf_counter()
        give_up_at, delay_s = sent + plan.patience_s, _FIRST_DELAY_S
        while True:
            try:
                call = self._calls[number % len(self._calls)]
                response = await self._answer(call(case.body, timeout=plan.timeout_s))
            except asyncio.CancelledError:
                seen.errors["CANCELLED"] += 1
                return
            except grpc.aio.AioRpcError as error:
                is_repeatable = error.code() in _REPEATABLE
                if not is_repeatable or time.perf_counter() >= give_up_at:
                    self._failed(error, 1e3 * (time.perf_counter() - sent))
                    return
                seen.repeated += 1
                number += 1
                await asyncio.sleep(delay_s * random.uniform(0.5, 1))
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
            else:
                seen.answered += 1
                seen.latencies_ms.append(1e3 * (time.perf_counter() - sent))
                case.check(response, seen)
                return

    async def _answer(self, call: grpc.aio.UnaryUnaryCall) -> pb.ModelInferResponse:
        if self._plan.cancel_after_s:
            asyncio.get_running_loop().call_later(self._plan.cancel_after_s, call.cancel)
        return await call

    def _failed(self, error: grpc.aio.AioRpcError, ms: float) -> None:
        code = error.code().name
        self.seen.errors[code] += 1
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            self.seen.rejections_ms.append(ms)
            self.seen.undetailed += not _says_when(error)
        else:
            self.seen.message = f"{code}: {error.details()}"[:500]


def _says_when(error: grpc.aio.AioRpcError) -> bool:
    packed = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
    if not isinstance(packed, bytes):
        return False
    details = status_pb2.Status.FromString(packed).details
    return any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)


def summary(seen: Seen) -> dict[str, object]:
    told = dict(vars(seen))
    for name in ("latencies_ms", "rejections_ms"):
        values = np.array(told.pop(name) or [0.0])
        kind = name.removesuffix("_ms")
        for percent in (50, 99):
            told[f"{kind}_p{percent}_ms"] = round(float(np.percentile(values, percent)), 3)
        told[f"{kind}_max_ms"] = round(float(values.max()), 3)
    return told


async def main(plan: Plan) -> None:
    random.seed(plan.seed)
    clients = Clients(plan)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, clients.end)
    await clients.run()
    print(json.dumps(summary(clients.seen)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
    os._exit(0)  # grpc.aio takes seconds to end idle channels
