"""Traces of real runs, in files that Triton's summary tool could read."""

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from services.inference.ensembles.ensemble import Ensemble
from services.inference.ensembles.plan import EnsemblePlan
from services.inference.repository.repository import Model
from services.inference.scheduling.engine import Engine, Plan
from services.inference.scheduling.server_wide import ServerWide
from services.inference.signature import Signature
from services.inference.tracing.sampling import Tracing
from wintergarden.errors import InvalidArgument, InvalidTensor, NotFound, Unsupported
from wintergarden.runtime import TensorSpec
from wintergarden.wire import model_config_pb2 as pb

DEFAULTS = {
    "trace_file": ["trace.json"],
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_mode": ["triton"],
}


class Asked:
    def __init__(self, value, request_id=""):
        self.feeds, self.rows, self.form = [np.array([[value]], np.float32)], 1, None
        self.arrived_ns, self.id = time.perf_counter_ns(), request_id
        self.priority, self.timeout_us, self.sequence, self.is_abandoned = 0, 0, None, False
        self.told = []
        self.done = threading.Event()

    def answer(self, outputs, *, is_final=True):
        self.told.append(outputs)
        self.done.set()

    def refuse(self, error):
        self.told.append(error)
        self.done.set()


class Doubling:
    def run(self, feeds, outputs=None):
        if (feeds["x"] < 0).any():
            raise InvalidTensor("negative")
        return [feeds["x"] * 2]


class House:
    """One model, a server that traces, and what it has written."""

    def __init__(self, folder, **options):
        self.folder = folder / "traces"
        self.tracing = Tracing(self.folder, is_known=lambda name: name == "double", **options)
        self.server = ServerWide(tracing=self.tracing)
        self.model = self.add("double")

    def add(self, name, **plan):
        plan = {"inline_rows": 8} | plan
        engine = Engine(Doubling(), Plan(("x",), **plan), name, self.server)
        return Model(name, 3, self.signature(name), engine, 0.0)

    @staticmethod
    def signature(name):
        spec = TensorSpec("x", "FP32", (-1, 1))
        return Signature(name, "3", (spec,), (replace(spec, name="y"),), is_rowwise=True)

    def ask(self, *values, model=None):
        model = model or self.model
        requests = [Asked(value, f"request {i}") for i, value in enumerate(values)]
        handed = self.tracing.sample(model, requests) if self.tracing.is_on else requests
        model.scheduler.submit(handed)
        for request in requests:
            assert request.done.wait(30)
            assert len(request.told) == 1
        return requests

    def written(self):
        # A thread of the engine may still be between an answer and the end of its trace.
        deadline = time.monotonic() + 10
        while any(s._under_way for s in self.tracing._samplers.values()):
            assert time.monotonic() < deadline, "a trace never ended"
        self.tracing.close()
        return {path.name: json.loads(path.read_text()) for path in self.folder.glob("*")}


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def stamps(events, trace_id):
    return {
        stamp["name"]: stamp["ns"]
        for event in events
        if event["id"] == trace_id
        for stamp in event.get("timestamps", ())
    }


def test_nothing_is_traced_until_it_is_asked_for(house):
    assert house.tracing.update("", {}) == DEFAULTS
    assert not house.tracing.is_on
    house.ask(1, 2, 3)
    assert house.written() == {}


def test_a_trace_tells_when_a_request_passed_what(house):
    told = house.tracing.update("", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]})
    assert told == {**DEFAULTS, "trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]}
    before = time.perf_counter_ns()
    house.ask(1)
    (events,) = house.written().values()
    about = events[0]
    assert about == {
        "id": about["id"],
        "model_name": "double",
        "model_version": 3,
        "request_id": "request 0",
    }
    passed = stamps(events, about["id"])
    assert list(passed) == [
        "REQUEST_START",
        "QUEUE_START",
        "COMPUTE_START",
        "COMPUTE_INPUT_END",
        "COMPUTE_OUTPUT_START",
        "COMPUTE_END",
        "REQUEST_END",
    ]
    moments = list(passed.values())
    assert moments == sorted(moments)
    assert before <= moments[0]
    assert moments[-1] <= time.perf_counter_ns()


def test_tensors_are_told_where_they_are_wanted(house):
    house.tracing.update("", {"trace_level": ["TENSORS"], "trace_rate": ["1"]})
    house.ask(1.5)
    (events,) = house.written().values()
    assert [(e["activity"], e["tensor"]) for e in events[1:]] == [
        ("TENSOR_QUEUE_INPUT", {"name": "x", "data": "1.5", "shape": "1,1", "dtype": "FP32"}),
        ("TENSOR_BACKEND_OUTPUT", {"name": "y", "data": "3.0", "shape": "1,1", "dtype": "FP32"}),
    ]


def test_texts_are_told_readably(house):
    spec = TensorSpec("x", "BYTES", (-1, 1))
    signature = Signature("double", "3", (spec,), (), is_rowwise=True)
    model = Model("double", 3, signature, house.model.scheduler, 0.0)
    request = Asked(0)
    request.feeds = [np.array([[b'say "hi"'], ["\u00fc"]], object)]
    house.tracing.update("", {"trace_level": ["TENSORS"], "trace_rate": ["1"]})
    (traced,) = house.tracing.sample(model, [request])
    traced.answer([])
    (events,) = house.written().values()
    assert events[1]["tensor"]["data"] == '"say "hi"","\u00fc"'


@pytest.mark.parametrize("inline_rows", [0, 8])
def test_every_so_many_requests_one_is_traced_until_the_count_is_reached(tmp_path, inline_rows):
    house = House(tmp_path)
    model = house.add("double", inline_rows=inline_rows)
    told = {"trace_level": ["TIMESTAMPS"], "trace_rate": ["3"], "trace_count": ["2"]}
    house.tracing.update("", told)
    house.ask(*range(5), model=model)
    assert house.tracing.update("", {})["trace_count"] == ["1"]
    house.ask(*range(5), model=model)
    assert house.tracing.update("", {})["trace_count"] == ["0"]
    (events,) = house.written().values()
    assert [e["request_id"] for e in events if "request_id" in e] == ["request 2", "request 0"]


def test_traces_are_written_in_files_of_a_set_number(house):
    settings = {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"], "log_frequency": ["2"]}
    house.tracing.update("", settings)
    house.ask(*range(5))
    written = house.written()
    assert sorted(written) == ["trace.json.0", "trace.json.1", "trace.json.2"]
    numbers = [sum("model_name" in e for e in written[name]) for name in sorted(written)]
    assert numbers == [2, 2, 1]


def test_no_traces_are_overwritten_when_settings_change(house):
    house.tracing.update("", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]})
    house.ask(1)
    house.tracing.update("", {"trace_level": ["TENSORS"]})
    house.ask(2)
    house.tracing.update("", {"trace_level": ["OFF"]})
    assert not house.tracing.is_on
    house.ask(3)
    assert sorted(house.written()) == ["trace.json", "trace.json.0"]


def test_a_model_falls_back_on_the_server_setting_by_setting(house):
    update = house.tracing.update
    assert update("double", {"trace_rate": ["12"], "log_frequency": ["34"]}) == {
        **DEFAULTS,
        "trace_rate": ["12"],
        "log_frequency": ["34"],
    }
    update("", {"trace_rate": ["56"], "trace_count": ["78"], "trace_level": ["TIMESTAMPS"]})
    of_model = update("double", {})
    assert (of_model["trace_rate"], of_model["trace_count"]) == (["12"], ["78"])
    assert of_model["trace_level"] == ["TIMESTAMPS"]
    assert update("", {"trace_rate": [], "trace_count": []})["trace_rate"] == ["1000"]
    assert update("double", {"trace_rate": []})["trace_rate"] == ["1000"]
    assert update("double", {"log_frequency": []}) == update("", {})


def test_a_model_may_be_traced_alone(house):
    other = house.add("other")
    settings = {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"], "trace_file": ["double.json"]}
    house.tracing.update("double", settings)
    house.ask(1)
    house.ask(2, model=other)
    (events,) = house.written().values()
    assert [e["model_name"] for e in events if "model_name" in e] == ["double"]


def test_what_is_left_of_the_count_outlives_other_changes(house):
    house.tracing.update(
        "", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"], "trace_count": ["5"]}
    )
    house.ask(1, 2)
    assert house.tracing.update("", {"log_frequency": ["1"]})["trace_count"] == ["3"]
    assert house.tracing.update("", {"trace_count": ["5"]})["trace_count"] == ["5"]


def test_a_refused_request_has_its_trace_too(house):
    house.tracing.update("", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]})
    (request,) = house.ask(-1)
    assert isinstance(request.told[0], InvalidTensor)
    (events,) = house.written().values()
    assert list(stamps(events, events[0]["id"])) == ["REQUEST_START", "QUEUE_START", "REQUEST_END"]


@pytest.mark.parametrize("inline_rows", [0, 8])
def test_the_steps_of_an_ensemble_are_traced_with_it(house, inline_rows):
    models = {name: house.add(name, inline_rows=inline_rows) for name in ("first", "second")}
    config = pb.ModelConfig(name="both", max_batch_size=8)
    config.input.add(name="x", data_type=pb.TYPE_FP32, dims=[1])
    config.output.add(name="y", data_type=pb.TYPE_FP32, dims=[1])
    for name, source, target in (("first", "x", "t"), ("second", "t", "y")):
        step = config.ensemble_scheduling.step.add(model_name=name)
        step.input_map["x"], step.output_map["y"] = source, target
    ensemble = Ensemble(EnsemblePlan.of(config), lambda name, *_: models[name])
    both = Model("both", 1, house.signature("both"), ensemble, 0.0)
    house.tracing.update("", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]})
    house.ask(1, model=both)
    (events,) = house.written().values()
    about = {e["model_name"]: e for e in events if "model_name" in e}
    assert set(about) == {"both", "first", "second"}
    assert "parent_id" not in about["both"]
    for name in ("first", "second"):
        assert about[name]["parent_id"] == about["both"]["id"]
        assert "COMPUTE_INPUT_END" in stamps(events, about[name]["id"])
        assert list(stamps(events, about[name]["id"]))[-1] == "REQUEST_END"
    assert "REQUEST_END" in stamps(events, about["both"]["id"])


def test_many_threads_lose_no_trace(house):
    house.tracing.update(
        "", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"], "log_frequency": ["7"]}
    )
    model = house.add("double", inline_rows=0, threads=4)
    threads = [
        threading.Thread(target=house.ask, args=range(25), kwargs={"model": model})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    events = [event for file in house.written().values() for event in file]
    assert sum("model_name" in event for event in events) == 100
    assert sum("REQUEST_END" in json.dumps(event) for event in events) == 100


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"trace_level": ["LOUD"]}, "allowed: OFF, or TIMESTAMPS and TENSORS"),
        ({"trace_level": ["OFF", "TENSORS"]}, "allowed: OFF, or TIMESTAMPS and TENSORS"),
        ({"trace_rate": ["0"]}, "a whole number from 1"),
        ({"trace_rate": ["often"]}, "'often'"),
        ({"trace_rate": ["1", "2"]}, "2 values"),
        ({"trace_count": ["-2"]}, "a whole number from -1"),
        ({"log_frequency": ["-1"]}, "a whole number from 0"),
        ({"trace_mode": ["jaeger"]}, "triton"),
        ({"trace_speed": ["1"]}, "unknown"),
        ({"trace_level": ["TENSORS"], "trace_file": ["../x"]}, "a plain file name"),
        ({"trace_level": ["TENSORS"], "trace_file": ["/etc/x"]}, "a plain file name"),
        ({"trace_level": ["TENSORS"], "trace_file": [".hidden"]}, "a plain file name"),
        ({"trace_level": ["TENSORS"], "trace_file": [""]}, "a plain file name"),
        ({"trace_level": ["TENSORS"], "trace_file": ["a\0b"]}, "a plain file name"),
    ],
)
def test_settings_that_cannot_be_change_nothing(house, settings, complaint):
    with pytest.raises(InvalidArgument) as raised:
        house.tracing.update("", settings)
    assert complaint in str(raised.value)
    assert house.tracing.update("", {}) == DEFAULTS


def test_the_whole_path_of_a_file_in_the_directory_means_that_file(house):
    path = f"{house.folder}/mine.json"
    house.tracing.update(
        "", {"trace_file": [path], "trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]}
    )
    house.ask(1)
    assert list(house.written()) == ["mine.json"]


def test_a_link_is_not_followed(house, tmp_path):
    house.folder.mkdir()
    (tmp_path / "precious").write_text("precious")
    (house.folder / "trace.json").symlink_to(tmp_path / "precious")
    house.tracing.update("", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]})
    house.ask(1)
    house.tracing.close()
    assert (tmp_path / "precious").read_text() == "precious"


def test_without_a_directory_nothing_can_be_traced():
    tracing = Tracing()
    assert tracing.update("", {})["trace_level"] == ["OFF"]
    with pytest.raises(Unsupported, match="--trace-directory"):
        tracing.update("", {"trace_level": ["TIMESTAMPS"]})


def test_opentelemetry_and_strangers_are_refused(house):
    with pytest.raises(Unsupported, match="opentelemetry"):
        house.tracing.update("", {"trace_mode": ["opentelemetry"]})
    with pytest.raises(NotFound, match="stranger"):
        house.tracing.update("stranger", {})


def test_processes_write_files_of_their_own(tmp_path):
    for suffix in (".0", ".1"):
        house = House(tmp_path, suffix=suffix)
        house.tracing.update("", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["1"]})
        house.ask(1)
        house.tracing.close()
    assert sorted(p.name for p in house.folder.glob("*")) == ["trace.json.0", "trace.json.1"]
