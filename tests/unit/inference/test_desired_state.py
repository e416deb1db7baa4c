"""What a process that starts later has to be asked."""

from __future__ import annotations

from services.inference.processes.desired_state import (
    LOAD,
    LOG,
    REGISTER,
    TRACE,
    UNLOAD,
    UNREGISTER,
    DesiredState,
)
from wintergarden.wire import open_inference_pb2 as pb


def load(name: str, config: str = "") -> bytes:
    request = pb.RepositoryModelLoadRequest(model_name=name)
    if config:
        request.parameters["config"].string_param = config
    return request.SerializeToString()


def unload(name: str) -> bytes:
    return pb.RepositoryModelUnloadRequest(model_name=name).SerializeToString()


def register(name: str, key: str = "/k") -> bytes:
    request = pb.SystemSharedMemoryRegisterRequest(name=name, key=key, byte_size=8)
    return request.SerializeToString()


def unregister(name: str) -> bytes:
    return pb.SystemSharedMemoryUnregisterRequest(name=name).SerializeToString()


def trace(model: str, **settings: list[str]) -> bytes:
    request = pb.TraceSettingRequest(model_name=model)
    for name, values in settings.items():
        request.settings[name].value.extend(values)
    return request.SerializeToString()


def test_the_last_word_about_each_model_in_the_order_it_was_said() -> None:
    state = DesiredState()
    for path, payload in [
        (LOAD, load("a")),
        (LOAD, load("b")),
        (UNLOAD, unload("c")),
        (LOAD, load("a", '{"max_batch_size": 2}')),
        (UNLOAD, unload("b")),
    ]:
        state.record(path, payload)
    assert state.requests() == [
        (UNLOAD, unload("c")),  # it may be one that every process loads at its start
        (LOAD, load("a", '{"max_batch_size": 2}')),
        (UNLOAD, unload("b")),
    ]
    assert state.loaded() == {"a"}
    assert state.revision == 5


def test_a_load_is_taken_back_by_the_one_before_it_or_an_unload() -> None:
    state = DesiredState()
    assert state.undo(LOAD, load("a")) == (UNLOAD, unload("a"))
    state.record(LOAD, load("a", "{}"))
    assert state.undo(LOAD, load("a")) == (LOAD, load("a", "{}"))
    assert state.undo(REGISTER, register("r")) == (UNREGISTER, unregister("r"))
    assert state.undo(UNLOAD, unload("a")) is None


def test_regions_until_they_are_unregistered() -> None:
    state = DesiredState()
    for name in ("r", "s", "t"):
        state.record(REGISTER, register(name))
    state.record(UNREGISTER, unregister("s"))
    assert state.requests() == [(REGISTER, register("r")), (REGISTER, register("t"))]
    state.record(UNREGISTER, unregister(""))
    assert state.requests() == []


def test_settings_add_up() -> None:
    state = DesiredState()
    state.record(TRACE, trace("", trace_rate=["10"], trace_level=["TIMESTAMPS"]))
    state.record(TRACE, trace("m", trace_rate=["5"]))
    state.record(TRACE, trace("", trace_rate=["20"]))
    state.record(TRACE, trace(""))  # a question, and no change
    (first_path, first), (second_path, second) = state.requests()
    assert first_path == second_path == TRACE
    assert first == trace("m", trace_rate=["5"])
    merged = pb.TraceSettingRequest.FromString(second)
    assert {name: list(value.value) for name, value in merged.settings.items()} == {
        "trace_rate": ["20"],
        "trace_level": ["TIMESTAMPS"],
    }


def test_a_cleared_setting_is_cleared_in_new_processes_too() -> None:
    state = DesiredState()
    state.record(TRACE, trace("", trace_rate=["10"]))
    state.record(TRACE, trace("", trace_rate=[]))
    ((_, payload),) = state.requests()
    settings = pb.TraceSettingRequest.FromString(payload).settings
    assert list(settings) == ["trace_rate"]
    assert list(settings["trace_rate"].value) == []


def test_log_settings_of_each_kind() -> None:
    state = DesiredState()
    request = pb.LogSettingsRequest()
    request.settings["log_verbose_level"].uint32_param = 1
    request.settings["log_info"].bool_param = False
    state.record(LOG, request.SerializeToString())
    request = pb.LogSettingsRequest()
    request.settings["log_info"].bool_param = True
    state.record(LOG, request.SerializeToString())
    ((_, payload),) = state.requests()
    settings = pb.LogSettingsRequest.FromString(payload).settings
    assert settings["log_verbose_level"].uint32_param == 1
    assert settings["log_info"].bool_param is True
