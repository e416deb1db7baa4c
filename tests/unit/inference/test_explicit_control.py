"""Explicit control over real ONNX models in a Triton repository on disk."""

import json
import threading

import numpy as np
import onnx.parser
import pytest

from services.inference.loading.loader import Loader, LoaderOptions
from services.inference.repository.explicit import ExplicitControl
from services.inference.repository.repository import Repository, State
from services.inference.sources import open_source
from wintergarden.errors import (
    InvalidArgument,
    NotFound,
    TooLarge,
    Unavailable,
    Unsupported,
)
from wintergarden.store.labels import Labels

ENSEMBLE = """
    platform: "ensemble"  max_batch_size: 4
    input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
    ensemble_scheduling {
      step { model_name: "a" model_version: -1
             input_map { key: "x" value: "x" } output_map { key: "y" value: "between" } }
      step { model_name: "b" model_version: -1
             input_map { key: "x" value: "between" } output_map { key: "y" value: "y" } }
    }"""


def adding(number):
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[n, 1] x) => (float[n, 1] y)
        <float[1] k = {{{number}}}> {{ y = Add (x, k) }}"""
    return onnx.parser.parse_model(text).SerializeToString()


class Request:
    """One row and a place for its answer."""

    priority = timeout_us = 0
    sequence = None
    is_abandoned = False

    def __init__(self, value):
        self.feeds = [np.array([[value]], np.float32)]
        self.rows, self.form, self.arrived_ns = 1, None, 0
        self.answered = threading.Event()

    def answer(self, outputs, *, is_final=True):
        self.value = float(outputs[0][0, 0])
        self.answered.set()

    def refuse(self, error):
        self.value = error
        self.answered.set()


class World:
    def __init__(self, root, **options):
        self.root, self.repository = root, Repository()
        self.checked, self.refusal = [], None
        loader = Loader(LoaderOptions(device="cpu"), self.repository.resolve)
        self.control = ExplicitControl(
            open_source(str(root), "triton"),
            self.repository,
            loader.load,
            rehearsal=self,
            **options,
        )
        self.control.look()

    def check(self, path):
        """Stands in for the process that tries graphs; it has tests of its own."""
        self.checked.append(path.name)
        if self.refusal is not None:
            raise self.refusal

    def close(self):
        self.checked.clear()

    def write(self, path, content):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    def ask(self, name, value=0.0, version=""):
        request = Request(value)
        self.repository.resolve(name, version).scheduler.submit([request])
        assert request.answered.wait(30)
        return request.value

    @property
    def states(self):
        return {(e.name, e.version): (e.state, e.reason) for e in self.repository.entries()}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.write("a/1/model.onnx", adding(1))
    made.write("b/1/model.onnx", adding(10))
    made.control.look()
    made.repository.complete()
    return made


def test_a_shadow_is_loaded_beside_the_latest_that_answers(world, monkeypatch):
    world.write("a/2/model.onnx", adding(2))
    monkeypatch.setattr(world.control._source, "labels", lambda _name: Labels(shadow=2))
    world.control.load("a")
    assert world.ask("a") == 1
    assert world.repository.shadow("a").version == 2


def test_nothing_is_loaded_unless_asked_for(world):
    assert world.states == {
        ("a", 1): (State.UNAVAILABLE, "not loaded"),
        ("b", 1): (State.UNAVAILABLE, "not loaded"),
    }
    world.control.load("a")
    assert world.ask("a") == 1
    with pytest.raises(Unavailable, match="not loaded"):
        world.repository.resolve("b")


def test_an_unknown_model_in_the_words_of_triton(world):
    with pytest.raises(NotFound, match=r"^failed to load 'c': no such model.* models are 'a', 'b'"):
        world.control.load("c")


def test_unloading_drains_and_may_be_repeated(world):
    world.control.load("a")
    model = world.repository.resolve("a")
    world.control.unload("a")
    assert model.scheduler.is_drained
    assert world.states["a", 1] == (State.UNAVAILABLE, "unloaded")
    world.control.unload("a")
    world.control.unload("unknown")
    world.control.load("a")
    assert world.ask("a") == 1


def test_loading_again_takes_what_has_changed_and_keeps_the_old_if_it_is_broken(world):
    world.control.load("a")
    world.write("a/1/model.onnx", adding(2))
    assert world.ask("a") == 1
    world.control.load("a")
    assert world.ask("a") == 2
    world.write("a/1/model.onnx", b"broken")
    with pytest.raises(InvalidArgument, match="failed to load 'a': ONNX Runtime cannot load"):
        world.control.load("a")
    assert world.ask("a") == 2
    state, reason = world.states["a", 1]
    assert state is State.READY
    assert "cannot load" in reason


def test_all_versions_or_none(world):
    world.write("a/config.pbtxt", "version_policy { all { } }")
    world.write("a/2/model.onnx", adding(2))
    world.control.load("a")
    assert [world.ask("a", version=v) for v in ("1", "2", "")] == [1, 2, 2]
    world.write("a/3/model.onnx", b"broken")
    world.write("a/1/model.onnx", adding(100))
    with pytest.raises(InvalidArgument):
        world.control.load("a")
    assert [world.ask("a", version=v) for v in ("1", "2", "")] == [1, 2, 2]
    world.write("a/config.pbtxt", "version_policy { specific { versions: 2 } }")
    world.control.load("a")
    assert world.ask("a") == 2
    world.control.look()
    assert world.states["a", 1][0] is State.UNAVAILABLE


def test_a_configuration_that_comes_with_the_request(world):
    config = {"max_batch_size": 2, "response_cache": {"enable": True}}
    world.control.load("a", json.dumps(config))
    model = world.repository.resolve("a")
    assert model.configuration.max_batch_size == 2
    assert world.ask("a") == 1
    world.control.load("a")
    assert world.repository.resolve("a").configuration.max_batch_size == 64
    for bad in ("{", '{"backend": "python"}', '{"name": "b"}'):
        with pytest.raises((InvalidArgument, Unsupported), match=r"^failed to load 'a'"):
            world.control.load("a", bad)
    assert world.ask("a") == 1


def test_files_that_come_with_the_request_are_the_whole_model(world):
    world.control.load("a", None, {"file:7/model.onnx": adding(7)})
    assert world.checked == ["model.onnx"]
    assert world.ask("a") == 7
    assert world.repository.resolve("a").version == 7
    with pytest.raises(Unavailable):
        world.repository.resolve("a", "1")
    world.control.load("new", '{"default_model_filename": "g.onnx"}', {"1/g.onnx": adding(3)})
    assert world.ask("new") == 3
    world.control.unload("new")
    with pytest.raises(NotFound):
        world.repository.resolve("new")
    world.control.load("a")
    assert (world.ask("a"), world.repository.resolve("a").version) == (1, 1)


@pytest.mark.parametrize(
    "path",
    ["../1/model.onnx", "1/../../x", "/1/model.onnx", "1/", "model.onnx", "x/model.onnx", "",
     "1/.x", "1//x", "0/model.onnx", "-1/model.onnx"],
)  # fmt: skip
def test_names_of_files_are_confined(world, tmp_path, path):
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(InvalidArgument, match="failed to load 'a': model 'a': file"):
        world.control.load("a", None, {f"file:{path}": adding(1)})
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_files_are_bounded(world, monkeypatch):
    monkeypatch.setattr("services.inference.repository.overrides._MAX_BYTES", 10)
    with pytest.raises(TooLarge, match="at most"):
        world.control.load("a", None, {"file:1/model.onnx": b"x" * 11})


def test_a_graph_that_is_refused_is_never_opened_here(world):
    world.refusal = InvalidArgument("it takes more than 1 s")
    world.control.load("a")  # what lies on disk is the operator's own
    with pytest.raises(InvalidArgument, match="takes more than 1 s"):
        world.control.load("a", None, {"file:1/model.onnx": adding(5)})
    assert world.ask("a") == 1


def test_an_ensemble_brings_its_parts_and_may_take_them_along(world):
    world.write("both/config.pbtxt", ENSEMBLE)
    (world.root / "both/1").mkdir()
    world.control.load("both")
    assert world.ask("both") == 11
    assert world.ask("a") == 1
    world.control.unload("both")
    assert world.ask("b") == 10
    world.control.load("both")
    world.control.unload("both", unload_dependents=True)
    for name in ("both", "a", "b"):
        with pytest.raises(Unavailable, match="unloaded"):
            world.repository.resolve(name)


def test_ensembles_of_each_other_are_refused_and_do_not_hang(world):
    for name, other in (("one", "two"), ("two", "one")):
        world.write(f"{name}/config.pbtxt", ENSEMBLE.replace('"a"', f'"{other}"'))
        (world.root / f"{name}/1").mkdir()
    failures = []

    def load(name):
        try:
            world.control.load(name)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=load, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(failures) == 2


def test_a_model_without_versions_says_so(world):
    (world.root / "empty").mkdir()
    with pytest.raises(InvalidArgument, match="at least one version must be available"):
        world.control.load("empty")


def test_many_threads_load_and_unload_the_same_models(world):
    def change(name):
        for _ in range(5):
            world.control.load(name)
            world.control.unload(name)

    threads = [threading.Thread(target=change, args=(name,)) for name in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    world.control.look()
    assert {state for state, _ in world.states.values()} == {State.UNAVAILABLE}
    world.control.load("a")
    assert world.ask("a") == 1


def test_what_is_named_is_loaded_at_the_start_and_a_broken_one_holds_up_nothing(tmp_path):
    done = threading.Event()
    world = World(tmp_path, load_models=["a", "bad"], on_complete=done.set)
    world.write("a/1/model.onnx", adding(1))
    world.write("b/1/model.onnx", adding(1))
    world.write("bad/1/model.onnx", b"broken")
    world.control.start()
    assert done.wait(20)
    assert world.ask("a") == 1
    assert {name: state for (name, _), (state, _) in world.states.items()} == {
        "a": State.READY,
        "b": State.UNAVAILABLE,
        "bad": State.UNAVAILABLE,
    }
    world.control.stop()
