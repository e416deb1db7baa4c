"""A client on the server's own machine: the values stay in memory that both have mapped."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import clients
import grpc

from wintergarden.runtime import Session, TensorSpec
from wintergarden.wire import open_inference_pb2 as pb

_REGISTER = clients.SERVICE + "SystemSharedMemoryRegister"


@dataclass(frozen=True)
class Exchange:
    """What a request says of its only input and output.

    Attributes:
        shape: of the input, rows first.
        input_bytes: the length of the input's values.
        output_bytes: the length of the output's.
    """

    model: str
    given: TensorSpec
    answered: TensorSpec
    shape: tuple[int, ...]
    input_bytes: int
    output_bytes: int


def exchange(session: Session, model: str, rows: int, sizes: tuple[int, int]) -> Exchange:
    (given,), (answered,) = session.inputs, session.outputs
    return Exchange(model, given, answered, (rows, *given.shape[1:]), *sizes)


async def senders(target: str, count: int, what: Exchange) -> list[clients.Send]:
    """Unary calls of ModelInfer, with a region for each worker. Bodies and answers are bare."""
    return [
        await _sender(channel, f"wintergarden-bench-{os.getpid()}-{i}", what)
        for i, channel in enumerate(clients.channels(target, count))
    ]


async def _sender(channel: grpc.aio.Channel, region: str, what: Exchange) -> clients.Send:
    memory = await _registered(channel, region, what.input_bytes + what.output_bytes)
    request = pb.ModelInferRequest(model_name=what.model, id="1")
    given = request.inputs.add(name=what.given.name, datatype=what.given.datatype, shape=what.shape)
    _lies_in(given, region, 0, what.input_bytes)
    answered = request.outputs.add(name=what.answered.name)
    _lies_in(answered, region, what.input_bytes, what.output_bytes)
    body = request.SerializeToString()
    call = channel.unary_unary(clients.INFER)

    async def send(values: bytes) -> bytes:
        memory[: what.input_bytes] = values
        await call(body, timeout=60)
        return memory[what.input_bytes :]

    return send


async def _registered(channel: grpc.aio.Channel, region: str, size: int) -> mmap.mmap:
    with _mapped(region, size) as memory:
        wanted = pb.SystemSharedMemoryRegisterRequest(name=region, key=f"/{region}", byte_size=size)
        await channel.unary_unary(_REGISTER)(wanted.SerializeToString())
        return memory


@contextmanager
def _mapped(name: str, size: int) -> Iterator[mmap.mmap]:
    """The name is there as long as the block lasts, the memory while anyone has it mapped."""
    file = Path("/dev/shm", name)
    with file.open("wb+") as opened:
        opened.truncate(size)
        memory = mmap.mmap(opened.fileno(), size)
    try:
        yield memory
    finally:
        file.unlink()


def _lies_in(
    tensor: pb.ModelInferRequest.InferInputTensor | pb.ModelInferRequest.InferRequestedOutputTensor,
    region: str,
    offset: int,
    size: int,
) -> None:
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_offset"].int64_param = offset
    tensor.parameters["shared_memory_byte_size"].int64_param = size
