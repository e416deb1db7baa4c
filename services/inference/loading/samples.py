"""The warm-up requests that a configuration asks for: Triton's `model_warmup`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from services.inference.configuration.tensors import datatype_of
from services.inference.scheduling.scheduler import Array
from wintergarden.errors import InvalidArgument, WintergardenError
from wintergarden.runtime import TensorSpec
from wintergarden.wire import model_config_pb2 as pb
from wintergarden.wire import tensors

_FOLDER = "warmup"
_MAX_BYTES = 2**30


def samples(
    config: pb.ModelConfig, inputs: Sequence[TensorSpec], read: Callable[[str], bytes]
) -> Iterator[tuple[str, dict[str, Array], int]]:
    """The samples: name, feeds by input, and how often each is to be run.

    Args:
        config: with `model_warmup`.
        inputs: what clients see.
        read: a file of the model's folder.

    Raises:
        InvalidArgument: a sample does not fit the model.
    """
    by_name = {spec.name: spec for spec in inputs}
    for sample in config.model_warmup:
        where = f"model {config.name!r:.200}: model_warmup {sample.name!r:.80}"
        batch = (max(1, sample.batch_size),) if config.max_batch_size > 0 else ()
        feeds = {}
        for name, tensor in sample.inputs.items():
            if name not in by_name:
                raise InvalidArgument(
                    f"{where}: no input {name!r:.200}; inputs are {', '.join(map(repr, by_name))}"
                )
            feeds[name] = _array(tensor, by_name[name], batch, where, read)
        missing = [s.name for s in inputs if s.name not in feeds and not s.is_optional]
        if missing:
            raise InvalidArgument(f"{where}: input {missing[0]!r} is missing")
        yield sample.name, feeds, max(1, sample.count)


def _array(
    tensor: pb.ModelWarmup.Input,
    spec: TensorSpec,
    batch: tuple[int, ...],
    where: str,
    read: Callable[[str], bytes],
) -> Array:
    where = f"{where}: input {spec.name!r:.200}"
    datatype = datatype_of(tensor.data_type) if tensor.data_type else spec.datatype
    shape = (*batch, *tensor.dims)
    fits = len(shape) == len(spec.shape) and all(
        size > 0 and limit in (-1, size) for size, limit in zip(shape, spec.shape, strict=True)
    )
    if datatype != spec.datatype or not fits:
        raise InvalidArgument(
            f"{where} is {datatype} {list(shape)}, needed is {spec.datatype} {list(spec.shape)}"
        )
    dtype = tensors.dtype_of(datatype, spec.name)
    if math.prod(shape) * dtype.itemsize > _MAX_BYTES:
        raise InvalidArgument(f"{where}: {list(shape)} takes more than {_MAX_BYTES} bytes")
    match tensor.WhichOneof("input_data_type"):
        case "input_data_file":
            content = read(f"{_FOLDER}/{tensor.input_data_file}")
            try:
                return tensors.decode(content, datatype, shape, spec.name)
            except WintergardenError as error:
                raise InvalidArgument(f"{where}: {tensor.input_data_file!r}: {error}") from error
        case "random_data" if dtype.kind == "f":
            return np.random.default_rng(0).random(shape).astype(dtype)
        case "random_data" if dtype.kind in "iu":
            return np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    return np.full(shape, b"", object) if dtype.kind == "O" else np.zeros(shape, dtype)
