"""What changes the server changes every process before the call is answered."""

from __future__ import annotations

import itertools
import json
import mmap
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import onnx.parser
import pytest

from wintergarden.wire import open_inference_pb2 as pb

X = np.array([[1.0, 2.0, 3.0]], np.float32)
SCALED = """scaled (float[n, 3] x) => (float[n, 3] y) <float f = {%s}> { y = Mul (x, f) }"""
EXPLICIT = ("--model-control", "explicit")

pytestmark = pytest.mark.parametrize("world", ["native"], indirect=True)


def scaled(factor: float) -> bytes:
    header = '<ir_version: 8, opset_import: ["" : 17]>'
    return onnx.parser.parse_model(header + SCALED % factor).SerializeToString()


def load(client: Any, model: str, config: Any = None, **files: bytes) -> None:
    """Files by version: `v1=…`."""
    request = pb.RepositoryModelLoadRequest(model_name=model)
    if config is not None:
        request.parameters["config"].string_param = json.dumps(config)
    for version, content in files.items():
        request.parameters[f"file:{version[1:]}/model.onnx"].bytes_param = content
    client.RepositoryModelLoad(request)


def unload(client: Any, model: str) -> None:
    client.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=model))


def refusal(question: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        question()
    return caught.value


def factors(service: Any, model: str, version: str = "") -> set[float]:
    """By what the model multiplies, on every connection."""
    return {float(y[0, 0]) for y in service.everybody(lambda c: c.infer(model, version))}


def replace_one(service: Any, world: Any) -> None:
    """One process dies, another takes its place, and connections are new."""
    victim = service.children()[0]
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    world.eventually(lambda: service.metric("wintergarden_processes_ready") == 1, 10)
    world.eventually(lambda: service.metric("wintergarden_processes_ready") == 2, 30)
    service.connect()


def test_loaded_and_unloaded_everywhere_when_the_call_is_answered(world: Any, serve: Any) -> None:
    world.publish("m", SCALED % 2)
    world.publish("m", SCALED % 3)
    service = serve(*EXPLICIT)
    for states in service.everybody(lambda c: c.index(ready=True)):
        assert states == {}
    for round_ in range(3):
        load(service.clients[round_], "m")
        assert factors(service, "m") == {3}
        for states in service.everybody(lambda c: c.index()):
            assert states["m", "2"] == ("READY", "")
        unload(service.clients[-round_], "m")
        errors = service.everybody(lambda c: refusal(lambda: c.infer("m")))
        assert {e.code() for e in errors} <= {
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.UNAVAILABLE,
        }
        assert not any(
            ready.ready
            for ready in service.everybody(lambda c: c.ModelReady(pb.ModelReadyRequest(name="m")))
        )


def test_files_and_configurations_that_came_with_the_call(world: Any, serve: Any) -> None:
    service = serve(*EXPLICIT)
    load(service.clients[0], "m", {"max_batch_size": 4}, v1=scaled(2))
    assert factors(service, "m") == {2}
    request = pb.ModelConfigRequest(name="m")
    configs = service.everybody(lambda c: c.ModelConfig(request).config.max_batch_size)
    assert set(configs) == {4}
    load(service.clients[1], "m", v1=scaled(5))
    assert factors(service, "m") == {5}
    replace_one(service, world)
    assert factors(service, "m") == {5}


def test_many_loads_at_once_wait_for_one_another_and_for_nobody_else(
    world: Any, serve: Any
) -> None:
    service = serve(*EXPLICIT)
    clients = service.connect(48)
    number = itertools.count(1)

    def change(client: Any) -> int:
        mine = next(number)
        load(client, f"m{mine % 8}", v1=scaled(mine))
        assert client.ServerReady(pb.ServerReadyRequest()).ready
        return mine

    assert sorted(service.everybody(change)) == list(range(1, 49))
    for model in range(8):
        assert len(factors(service, f"m{model}")) == 1  # which, the last one knows
    assert len(clients[0].index(ready=True)) == 8


def test_what_cannot_be_loaded_changes_nothing_anywhere(world: Any, serve: Any) -> None:
    service = serve(*EXPLICIT)
    load(service.clients[0], "m", v1=scaled(2))
    error = refusal(lambda: load(service.clients[1], "m", v1=b"no model"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "failed to load 'm'" in error.details()
    assert factors(service, "m") == {2}
    error = refusal(lambda: load(service.clients[2], "missing"))
    assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
    replace_one(service, world)
    assert factors(service, "m") == {2}


def test_without_explicit_control_the_refusal_is_the_same(world: Any, serve: Any) -> None:
    world.publish("m", SCALED % 2)
    service = serve()
    for client in service.clients[:4]:
        error = refusal(lambda c=client: load(c, "m"))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "not allowed if polling is enabled" in error.details()


def test_a_process_that_starts_later_has_loaded_what_the_others_have(
    world: Any, serve: Any
) -> None:
    for model in ("at_start", "kept", "gone"):
        world.publish(model, SCALED % 2)
    service = serve(*EXPLICIT, "--load-models", "at_start,gone")
    load(service.clients[0], "kept")
    load(service.clients[1], "sent", v7=scaled(7))
    unload(service.clients[2], "gone")
    # Published and not asked for: nobody loads it, late or not.
    world.publish("kept", SCALED % 9)
    for _ in range(2):
        replace_one(service, world)
        assert factors(service, "at_start") == factors(service, "kept") == {2}
        assert factors(service, "sent", "7") == {7}
        ready = service.everybody(lambda c: set(c.index(ready=True)))
        assert all(states == {("at_start", "1"), ("kept", "1"), ("sent", "7")} for states in ready)
    load(service.clients[0], "kept")
    assert factors(service, "kept") == {9}


@pytest.fixture
def region() -> Iterator[mmap.mmap]:
    """24 bytes of POSIX shared memory under `region.name`."""
    path = Path("/dev/shm") / f"wintergarden-{uuid4().hex}"
    path.write_bytes(bytes(24))
    descriptor = os.open(path, os.O_RDWR)
    memory = mmap.mmap(descriptor, 24)
    os.close(descriptor)
    yield _Region(memory, path.name)
    memory.close()
    path.unlink()


class _Region:
    def __init__(self, memory: mmap.mmap, key: str) -> None:
        self.memory = memory
        self.key = key


def through(client: Any, region: Any) -> np.ndarray:
    request = pb.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    output = request.outputs.add(name="y")
    for place, offset in ((tensor, 0), (output, 12)):
        place.parameters["shared_memory_region"].string_param = "r"
        place.parameters["shared_memory_byte_size"].int64_param = 12
        place.parameters["shared_memory_offset"].int64_param = offset
    client.ModelInfer(request)
    return np.frombuffer(region.memory[12:], np.float32)


def test_shared_memory_is_known_to_all(world: Any, serve: Any, region: Any) -> None:
    world.publish("m", SCALED % 2)
    service = serve("--system-shared-memory")
    region.memory[:12] = X.tobytes()
    register = pb.SystemSharedMemoryRegisterRequest(name="r", key=region.key, byte_size=24)
    service.clients[0].SystemSharedMemoryRegister(register)
    status = pb.SystemSharedMemoryStatusRequest()

    def check() -> None:
        for regions in service.everybody(lambda c: c.SystemSharedMemoryStatus(status).regions):
            assert list(regions) == ["r"]
        for client in service.clients:
            region.memory[12:] = bytes(12)
            np.testing.assert_array_equal(through(client, region), 2 * X[0])

    check()
    for client in service.clients[:4]:
        error = refusal(lambda c=client: c.SystemSharedMemoryRegister(register))
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    check()  # a refused registration has taken nothing away
    replace_one(service, world)
    check()
    service.clients[1].SystemSharedMemoryUnregister(
        pb.SystemSharedMemoryUnregisterRequest(name="r")
    )
    for regions in service.everybody(lambda c: c.SystemSharedMemoryStatus(status).regions):
        assert list(regions) == []
    replace_one(service, world)
    for regions in service.everybody(lambda c: c.SystemSharedMemoryStatus(status).regions):
        assert list(regions) == []


def test_settings_of_traces_and_the_log_hold_in_all(world: Any, serve: Any, tmp_path: Path) -> None:
    world.publish("m", SCALED % 2)
    service = serve("--trace-directory", str(tmp_path), "--log-directory", str(tmp_path))
    change = pb.TraceSettingRequest()
    settings = {"trace_level": "TIMESTAMPS", "trace_rate": "1", "trace_file": "t"}
    for name, value in {**settings, "log_frequency": "1"}.items():
        change.settings[name].value.append(value)
    service.clients[0].TraceSetting(change)
    change = pb.LogSettingsRequest()
    change.settings["log_verbose_level"].uint32_param = 1
    service.clients[1].LogSettings(change)

    def check() -> None:
        ask = pb.TraceSettingRequest()
        for settings in service.everybody(lambda c: c.TraceSetting(ask).settings):
            assert list(settings["trace_rate"].value) == ["1"]
            assert list(settings["trace_level"].value) == ["TIMESTAMPS"]
        for settings in service.everybody(
            lambda c: c.LogSettings(pb.LogSettingsRequest()).settings
        ):
            assert settings["log_verbose_level"].uint32_param == 1

    check()
    assert factors(service, "m") == {2}
    # Each process has files of its own.
    world.eventually(lambda: {p.name.split(".")[1] for p in tmp_path.glob("t.*")} == {"0", "1"})
    replace_one(service, world)
    check()
    wrong = pb.TraceSettingRequest()
    wrong.settings["trace_rate"].value.append("often")
    error = refusal(lambda: service.clients[0].TraceSetting(wrong))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    check()
