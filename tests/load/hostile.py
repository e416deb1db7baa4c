"""Requests that no client should send: some nearly right, some absurd, some bent byte by byte.

Hypothesis makes the first kind from what the protocol allows; the second kind is the first with
bytes changed, cut, doubled and exchanged.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from wintergarden.wire import open_inference_pb2 as pb

# Input name, datatype and shape of each model that is served while this goes on; see `fuzz.py`.
Models = dict[str, list[tuple[str, str, tuple[int, ...]]]]
Made = tuple[str, bytes]

_DATATYPES = ["BOOL", "INT8", "UINT64", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES", "", "X"]
_PARAMETERS = [
    "priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "classification",
    "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "binary_data",
    "triton_enable_empty_final_response", "triton_final_response", "triton_", "mine", "",
]  # fmt: skip
# Few names that a load may make its own, so that nothing piles up.
_NAMES = ["fuzz-0", "fuzz-1", "fuzz-2", "", "..", "../x", "a/b", ".", "-", "x" * 300, "ü\0"]
_REGIONS = ["region-0", "region-1", "", "ü", "x" * 300]
_NUMBERS = [0, 1, 2, 3, 4, 7, 64, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -1, -2, -(2**63)]

_whole = st.sampled_from(_NUMBERS) | st.integers(-(2**63), 2**63 - 1)
_unsigned = st.sampled_from([n for n in _NUMBERS if n >= 0]) | st.integers(0, 2**64 - 1)
_size = st.integers(0, 4) | st.sampled_from(_NUMBERS)
_text = st.text(max_size=12)
_binary = st.binary(max_size=64)

_parameter = st.one_of(
    st.booleans().map(lambda v: pb.InferParameter(bool_param=v)),
    _whole.map(lambda v: pb.InferParameter(int64_param=v)),
    (st.sampled_from(_REGIONS) | _text).map(lambda v: pb.InferParameter(string_param=v)),
    st.floats().map(lambda v: pb.InferParameter(double_param=v)),
    _unsigned.map(lambda v: pb.InferParameter(uint64_param=v)),
    st.just(pb.InferParameter()),
)
_parameters = st.dictionaries(st.sampled_from(_PARAMETERS) | _text, _parameter, max_size=4)
_contents = st.builds(
    pb.InferTensorContents,
    bool_contents=st.lists(st.booleans(), max_size=4),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    int64_contents=st.lists(_whole, max_size=4),
    uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=4),
    uint64_contents=st.lists(_unsigned, max_size=4),
    fp32_contents=st.lists(st.floats(width=32), max_size=8),
    fp64_contents=st.lists(st.floats(), max_size=4),
    bytes_contents=st.lists(_binary, max_size=4),
)


def corpus(models: Models, model_content: bytes, number: int, size: int) -> list[Made]:
    """So many requests, as (method, bytes); the same ones for the same seed `number`."""
    made: list[Made] = []

    @seed(number)
    @settings(
        max_examples=size,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(_infer(models), _infer(models), _infer(models), _control(model_content)))
    def collect(example: tuple[str, Any]) -> None:
        method, message = example
        made.append((method, message.SerializeToString()))

    collect()
    return made


def bent(corpus: list[Made], number: int) -> Iterator[Made]:
    """Requests of the corpus without end, most of them changed; the same ones for the same seed."""
    chance = random.Random(number)
    while True:
        method, content = chance.choice(corpus)
        for _ in range(chance.choice([0, 1, 1, 1, 2, 4])):
            content = chance.choice(_BENDS)(content, chance)
        yield method, content


def _flip(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return bytes([chance.randrange(256)])
    changed = bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _replace(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content) + 1), chance.choice([1, 1, 2, 4, 8])
    new = chance.choice([b"", b"\0", b"\xff" * length, chance.randbytes(length)])
    return content[:start] + new + content[start + length :]


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _double(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.randrange(64))
    return content[:end] + content[start:end] * chance.choice([1, 2, 50]) + content[end:]


def _merge(content: bytes, chance: random.Random) -> bytes:
    """A message after itself is one message with its lists twice as long."""
    return content + content[chance.randrange(len(content) + 1) :]


_BENDS: list[Callable[[bytes, random.Random], bytes]] = [
    _flip, _flip, _replace, _replace, _cut, _double, _merge,
]  # fmt: skip


@st.composite
def _infer(draw: Callable[[st.SearchStrategy[Any]], Any], models: Models) -> tuple[str, Any]:
    """A request that fits a model, with none, one or several things wrong."""
    name = draw(st.sampled_from(sorted(models)))
    request = pb.ModelInferRequest(model_name=name, id=draw(_text))
    for tensor_name, datatype, shape in models[name]:
        sizes = [draw(st.integers(0, 3)) if size < 0 else size for size in shape]
        request.inputs.add(name=tensor_name, datatype=datatype, shape=sizes)
        request.raw_input_contents.append(draw(_values(datatype, sizes)))
    for spoil in draw(st.lists(st.sampled_from(_SPOILS), max_size=3)):
        spoil(draw, request)
    method = draw(st.sampled_from(["ModelInfer"] * 9 + ["ModelStreamInfer"]))
    return method, request


@st.composite
def _values(
    draw: Callable[[st.SearchStrategy[Any]], Any], datatype: str, sizes: list[int]
) -> bytes:
    count = int(np.prod(sizes))
    if datatype == "BYTES":
        texts = [draw(st.text(max_size=3).map(str.encode) | _binary) for _ in range(count)]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    width = {"FP32": 4, "INT64": 8, "BF16": 2, "BOOL": 1}[datatype]
    return bytes(draw(st.binary(min_size=count * width, max_size=count * width)))


def _spoil_name(draw: Any, request: Any) -> None:
    request.model_name = draw(st.sampled_from(_NAMES) | _text)


def _spoil_version(draw: Any, request: Any) -> None:
    request.model_version = draw(st.sampled_from(["1", "-1", "01", "2", "9" * 30]) | _text)


def _spoil_tensor(draw: Any, request: Any) -> None:
    if request.inputs:
        tensor = draw(st.sampled_from(list(request.inputs)))
        match draw(st.integers(0, 4)):
            case 0:
                tensor.name = draw(_text)
            case 1:
                tensor.datatype = draw(st.sampled_from(_DATATYPES) | _text)
            case 2:
                tensor.shape[:] = draw(st.lists(_size, max_size=8))
            case 3:
                tensor.contents.CopyFrom(draw(_contents))
            case 4:
                _set(tensor.parameters, draw(_parameters))


def _spoil_count(draw: Any, request: Any) -> None:
    if draw(st.booleans()):
        request.raw_input_contents.append(draw(_binary))
    elif request.raw_input_contents:
        del request.raw_input_contents[draw(st.integers(0, len(request.raw_input_contents) - 1)) :]


def _spoil_contents(draw: Any, request: Any) -> None:
    del request.raw_input_contents[:]
    for tensor in request.inputs:
        tensor.contents.CopyFrom(draw(_contents))


def _spoil_parameters(draw: Any, request: Any) -> None:
    _set(request.parameters, draw(_parameters))


def _spoil_outputs(draw: Any, request: Any) -> None:
    for name in draw(st.lists(st.sampled_from(["y", "logits", "probabilities"]) | _text)):
        _set(request.outputs.add(name=name).parameters, draw(_parameters))


def _spoil_memory(draw: Any, request: Any) -> None:
    tensors = [*request.inputs, *request.outputs]
    if tensors:
        parameters = draw(st.sampled_from(tensors)).parameters
        parameters["shared_memory_region"].string_param = draw(st.sampled_from(_REGIONS))
        parameters["shared_memory_byte_size"].int64_param = draw(_size)
        if draw(st.booleans()):
            parameters["shared_memory_offset"].int64_param = draw(_size)


_SPOILS = [
    _spoil_name, _spoil_version, _spoil_tensor, _spoil_tensor, _spoil_count, _spoil_contents,
    _spoil_parameters, _spoil_outputs, _spoil_memory,
]  # fmt: skip


def _set(parameters: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        parameters[name].CopyFrom(value)


_FIELDS = [
    "name", "platform", "backend", "max_batch_size", "input", "output", "dims", "data_type",
    "dynamic_batching", "sequence_batching", "ensemble_scheduling", "instance_group", "parameters",
    "optimization", "version_policy", "model_warmup", "response_cache", "default_model_filename",
]  # fmt: skip
_CONFIGS = [
    json.dumps(config)
    for config in (
        {"max_batch_size": 8, "dynamic_batching": {"max_queue_delay_microseconds": 100}},
        {"max_batch_size": -1},
        {"max_batch_size": 2**31 - 1, "dynamic_batching": {"preferred_batch_size": [-1, 0]}},
        {"instance_group": [{"count": 3, "kind": "KIND_CPU"}]},
        {"instance_group": [{"count": 2**31 - 1}]},
        {"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2, 3]}]},
        {"input": [{"name": "q", "data_type": "TYPE_INT8", "dims": [-2]}]},
        {"default_model_filename": "../../../etc/passwd"},
        {"parameters": {"intra_op_thread_count": {"string_value": "999999999"}}},
        {"parameters": {"execution_mode": {"string_value": "1"}}},
        {"optimization": {"graph": {"level": 7}}},
        {"sequence_batching": {"max_sequence_idle_microseconds": -1}},
        {"ensemble_scheduling": {"step": [{"model_name": "fuzz-0", "model_version": -1}]}},
        {"model_warmup": [{"name": "w", "batch_size": 2**31 - 1}]},
        {"platform": "tensorflow_savedmodel"},
        {"version_policy": {"specific": {"versions": [1, 2, -3]}}},
    )
]
_json = st.recursive(
    st.none() | st.booleans() | _whole | st.floats() | _text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_FIELDS) | _text, inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def _load(draw: Callable[[st.SearchStrategy[Any]], Any], content: bytes) -> tuple[str, Any]:
    name = draw(st.sampled_from(["fuzz-0", "fuzz-1", "fuzz-2"]) | st.sampled_from(_NAMES))
    request = pb.RepositoryModelLoadRequest(model_name=name)
    if draw(st.booleans()):
        written = draw(
            st.sampled_from(["{}", "[" * 5000]) | st.sampled_from(_CONFIGS) | _json.map(json.dumps)
        )
        request.parameters["config"].string_param = written
    paths = ["1/model.onnx", "1/model.onnx", "2/model.onnx", "../1/x", "/etc/x", "1/../../x", ""]
    for path in draw(
        st.just(["1/model.onnx"]) | st.lists(st.sampled_from(paths), max_size=2, unique=True)
    ):
        request.parameters[f"file:{path}"].bytes_param = draw(
            st.just(content)
            | st.just(content)
            | st.integers(0, len(content)).map(lambda end: content[:end])
            | _binary
        )
    if draw(st.sampled_from([False] * 9 + [True])):
        request.parameters[draw(_text)].int64_param = 1
    return "RepositoryModelLoad", request


def _control(content: bytes) -> st.SearchStrategy[tuple[str, Any]]:
    """Every other call of the protocol."""
    name = st.sampled_from([*_NAMES, "sum"])
    version = st.sampled_from(["", "1", "-1", "x"])
    trace = st.builds(
        lambda key, values: {key: pb.TraceSettingRequest.SettingValue(value=values)},
        st.sampled_from(["trace_level", "trace_rate", "trace_count", "log_frequency", "trace_file"])
        | _text,
        st.lists(st.sampled_from(["OFF", "TIMESTAMPS", "TENSORS", "0", "-1", "1000"]) | _text),
    )
    key = st.sampled_from(["fuzz-object", "/fuzz-object", "..", "/../etc/passwd", "", "nobody"])
    messages: dict[str, st.SearchStrategy[Any]] = {
        "ServerReady": st.just(pb.ServerReadyRequest()),
        "ServerMetadata": st.just(pb.ServerMetadataRequest()),
        "ModelReady": st.builds(pb.ModelReadyRequest, name=name, version=version),
        "ModelMetadata": st.builds(pb.ModelMetadataRequest, name=name, version=version),
        "ModelConfig": st.builds(pb.ModelConfigRequest, name=name, version=version),
        "ModelStatistics": st.builds(pb.ModelStatisticsRequest, name=name, version=version),
        "RepositoryIndex": st.builds(
            pb.RepositoryIndexRequest, repository_name=st.just("") | _text, ready=st.booleans()
        ),
        "RepositoryModelUnload": st.builds(
            pb.RepositoryModelUnloadRequest, model_name=st.sampled_from(_NAMES)
        ),
        "SystemSharedMemoryStatus": st.builds(
            pb.SystemSharedMemoryStatusRequest, name=st.sampled_from(_REGIONS)
        ),
        "SystemSharedMemoryRegister": st.builds(
            pb.SystemSharedMemoryRegisterRequest,
            name=st.sampled_from(_REGIONS),
            key=key,
            offset=_unsigned,
            byte_size=_unsigned,
        ),
        "SystemSharedMemoryUnregister": st.builds(
            pb.SystemSharedMemoryUnregisterRequest, name=st.sampled_from(_REGIONS)
        ),
        "CudaSharedMemoryStatus": st.builds(pb.CudaSharedMemoryStatusRequest, name=_text),
        "CudaSharedMemoryRegister": st.builds(pb.CudaSharedMemoryRegisterRequest, name=_text),
        "CudaSharedMemoryUnregister": st.builds(pb.CudaSharedMemoryUnregisterRequest, name=_text),
        "TraceSetting": st.builds(pb.TraceSettingRequest, settings=trace, model_name=name),
        "LogSettings": st.builds(
            lambda key, value: pb.LogSettingsRequest(
                settings={key: pb.LogSettingsRequest.SettingValue(string_param=value)}
            ),
            st.sampled_from(["log_file", "log_format", "log_info", "log_verbose_level"]) | _text,
            st.sampled_from(["../x", "/etc/x", "default", "ISO8601"]) | _text,
        ),
    }
    others = [made.map(lambda m, method=method: (method, m)) for method, made in messages.items()]
    return st.one_of(_load(content), _load(content), *others)
