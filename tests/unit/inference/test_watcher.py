"""The watcher against a store in memory: what is served after which events."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from services.inference.repository.repository import Model, Repository, State
from services.inference.repository.watcher import Watcher
from services.inference.scheduling.engine import Engine
from services.inference.scheduling.plan import Plan
from services.inference.signature import Signature
from wintergarden.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unsupported,
)
from wintergarden.runtime import TensorSpec
from wintergarden.store.labels import Labels
from wintergarden.store.published import Published
from wintergarden.wire.model_config_pb2 import ModelConfig


class Store:
    """A source in memory; `changes` makes new tags."""

    uri, kind, default_versions = "memory", "test", None

    def __init__(self, **published):
        self.versions = {name: set(versions) for name, versions in published.items()}
        self.configurations, self.all_labels, self.problems = {}, {}, {}
        self.tags = {}
        self.configuration_reads = 0

    def look(self):
        return {
            name: Published(
                {v: self.tags.get((name, v), "1") for v in sorted(versions)},
                configuration=repr((self.configurations.get(name), self.problems.get(name))),
                labels=repr(self.all_labels.get(name)),
            )
            for name, versions in self.versions.items()
        }

    def configuration(self, name):
        self.configuration_reads += 1
        if name in self.problems:
            raise self.problems[name]
        return self.configurations.get(name, ModelConfig())

    def labels(self, name):
        return self.all_labels.get(name, Labels())

    def files(self, name, version):
        return None


class Identity:
    def run(self, feeds, outputs=None):
        return [feeds["x"]]


class Loads:
    """A loader that fails for the versions in `bad` and remembers what it was asked for."""

    def __init__(self, bad=()):
        self.bad, self.asked = set(bad), []

    def __call__(self, name, version, files, config):
        self.asked.append((name, version))
        if (name, version) in self.bad:
            raise DataLoss("model.onnx: sha256 differs")
        spec = (TensorSpec("x", "FP32", (-1, 1)),)
        signature = Signature(name, str(version), spec, spec, is_rowwise=True)
        engine = Engine(Identity(), Plan(("x",)), signature.label)
        return Model(name, version, signature, engine, 0.1, config)


class World:
    def __init__(self, store, bad=(), versions_served=2):
        self.store, self.loads, self.repository = store, Loads(bad), Repository()
        self.completed = 0
        self.watcher = Watcher(
            store,
            self.repository,
            self.loads,
            versions_served=versions_served,
            poll_interval_s=1,
            on_complete=self.complete,
        )

    def complete(self):
        self.completed += 1

    def settle(self):
        while due := self.watcher.look():
            for name in due:
                self.watcher.load_next(name)
        self.watcher.look()
        return self

    @property
    def states(self):
        return {(e.name, e.version): e.state for e in self.repository.entries()}


def test_an_empty_store_is_complete():
    world = World(Store()).settle()
    assert world.repository.is_complete
    assert world.completed == 1
    with pytest.raises(NotFound, match="no model 'a'; models are none"):
        world.repository.resolve("a")


def test_before_the_store_is_read_an_unknown_model_may_still_come():
    with pytest.raises(Unavailable):
        World(Store(a=[1])).repository.resolve("a")


def test_the_latest_is_loaded_first_and_served_by_default():
    world = World(Store(a=[1, 2])).settle()
    assert world.loads.asked == [("a", 2), ("a", 1)]
    assert world.repository.resolve("a").version == 2
    assert world.repository.resolve("a", "-1").version == 2
    assert world.repository.resolve("a", "1").version == 1
    assert world.repository.resolve("a", "01").version == 1


def test_a_new_version_takes_over():
    world = World(Store(a=[1])).settle()
    before = world.repository.resolve("a")
    world.store.versions["a"].add(2)
    world.settle()
    assert world.repository.resolve("a").version == 2
    assert world.repository.resolve("a", "1") is before
    assert world.completed == 1


def test_a_bad_version_stays_out_with_its_reason_and_the_previous_one_in():
    world = World(Store(a=[1]), bad=[("a", 2)]).settle()
    world.store.versions["a"].add(2)
    world.settle()
    assert world.repository.resolve("a").version == 1
    entry = world.repository.get("a", 2)
    assert (entry.state, entry.reason) == (State.UNAVAILABLE, "model.onnx: sha256 differs")
    with pytest.raises(Unavailable, match=r"version 2 is not served: .*sha256 differs"):
        world.repository.resolve("a", "2")
    with pytest.raises(NotFound, match="no version 7; versions are 1, 2"):
        world.repository.resolve("a", "7")


def test_a_model_with_no_good_version_says_why():
    world = World(Store(a=[1]), bad=[("a", 1)]).settle()
    with pytest.raises(Unavailable, match=r"no version to serve: version 1: .*sha256"):
        world.repository.resolve("a")


def test_a_bad_version_is_not_tried_again_at_once():
    world = World(Store(a=[1]), bad=[("a", 1)])
    for _ in range(5):
        world.settle()
    assert world.loads.asked == [("a", 1)]


def test_a_mended_version_is_served_after_a_while(monkeypatch):
    monkeypatch.setattr("services.inference.repository.candidates._FIRST_RETRY_S", 0.0)
    world = World(Store(a=[1]), bad=[("a", 1)])
    assert world.watcher.look() == ["a"]
    world.watcher.load_next("a")
    assert world.states == {("a", 1): State.UNAVAILABLE}
    world.loads.bad.clear()
    world.settle()
    assert world.repository.resolve("a").version == 1


def test_only_the_latest_versions_are_served():
    world = World(Store(a=[1, 2, 3, 4])).settle()
    assert world.loads.asked == [("a", 4), ("a", 3)]
    assert world.states["a", 2] is State.UNAVAILABLE
    with pytest.raises(Unavailable, match="not among the latest 2"):
        world.repository.resolve("a", "1")


def test_the_oldest_is_unloaded_only_after_the_newest_is_ready():
    world = World(Store(a=[1]), bad=[("a", 2)], versions_served=1).settle()
    world.store.versions["a"].add(2)
    world.settle()
    assert world.states == {("a", 1): State.READY, ("a", 2): State.UNAVAILABLE}
    world.store.versions["a"].add(3)
    world.settle()
    assert world.repository.resolve("a").version == 3
    assert world.states["a", 1] is State.UNAVAILABLE


def test_an_older_version_comes_back_when_newer_ones_are_deleted():
    world = World(Store(a=[1, 2, 3])).settle()
    world.store.versions["a"] -= {2, 3}
    world.settle()
    assert world.states == {("a", 1): State.READY}


def test_a_deleted_version_finishes_what_it_was_given():
    world = World(Store(a=[1], b=[1])).settle()
    model = world.repository.resolve("a")
    del world.store.versions["a"]
    world.settle()
    with pytest.raises(NotFound, match="no model 'a'; models are 'b'"):
        world.repository.resolve("a")
    assert model.scheduler.is_drained
    assert ("a", 1) not in world.states
    answers = []

    late = SimpleNamespace(
        feeds=[np.ones((1, 1), np.float32)],
        rows=1,
        form=(),
        arrived_ns=0,
        is_abandoned=False,
        answer=answers.append,
    )
    model.scheduler.submit([late])
    assert len(answers) == 1


def test_a_configuration_is_read_only_when_something_has_changed():
    world = World(Store(a=[1])).settle()
    reads = world.store.configuration_reads
    world.settle()
    assert world.store.configuration_reads == reads


def test_another_configuration_loads_the_version_again():
    world = World(Store(a=[1])).settle()
    before = world.repository.resolve("a")
    world.store.configurations["a"] = ModelConfig(max_batch_size=3)
    world.settle()
    after = world.repository.resolve("a")
    assert after.configuration.max_batch_size == 3
    assert before.scheduler.is_drained
    assert world.loads.asked == [("a", 1), ("a", 1)]


def test_changed_files_load_the_version_again_and_a_failure_keeps_the_old():
    world = World(Store(a=[1])).settle()
    before = world.repository.resolve("a")
    world.store.tags["a", 1] = "2"
    world.loads.bad.add(("a", 1))
    world.settle()
    assert world.repository.resolve("a") is before
    entry = world.repository.get("a", 1)
    assert (entry.state, entry.reason) == (State.READY, "model.onnx: sha256 differs")
    world.store.tags["a", 1] = "3"  # mended: tried at once
    world.loads.bad.clear()
    world.settle()
    assert world.repository.resolve("a") is not before
    assert world.repository.get("a", 1).reason == ""


def test_a_configuration_that_cannot_be_used_is_the_reason():
    store = Store(a=[1], b=[1])
    store.problems["a"] = Unsupported("backend: 'python' is not served here")
    world = World(store).settle()
    assert world.repository.get("a", 1).reason == "backend: 'python' is not served here"
    assert world.repository.resolve("b").version == 1


def policy(**fields):
    config = ModelConfig()
    for name, value in fields.items():
        match name:
            case "all":
                config.version_policy.all.SetInParent()
            case "latest":
                config.version_policy.latest.num_versions = value
            case "specific":
                config.version_policy.specific.versions.extend(value)
    return config


@pytest.mark.parametrize(
    ("config", "served"),
    [
        (policy(all=True), [1, 2, 3, 4]),
        (policy(latest=1), [4]),
        (policy(latest=3), [2, 3, 4]),
        (policy(specific=[1, 3]), [1, 3]),
        (policy(specific=[3, 9]), [3]),
        (policy(), [3, 4]),
    ],
)
def test_version_policies(config, served):
    store = Store(a=[1, 2, 3, 4])
    store.configurations["a"] = config
    world = World(store).settle()
    assert [m.version for m in world.repository.models()] == served
    left = [e for e in world.repository.entries() if e.version not in served]
    assert all(e.state is State.UNAVAILABLE and "not among" in e.reason for e in left)


def test_a_labelled_version_stays_loaded_beside_the_latest():
    store = Store(a=[1, 2, 3, 4])
    store.all_labels["a"] = Labels(labels={"stable": 1}, shadow=2)
    world = World(store, versions_served=1).settle()
    assert [m.version for m in world.repository.models()] == [1, 2, 4]
    assert world.repository.resolve("a", "stable").version == 1
    assert world.repository.shadow("a").version == 2
    store.all_labels["a"] = Labels(labels={"stable": 4})
    world.settle()
    assert [m.version for m in world.repository.models()] == [4]
    assert world.repository.resolve("a", "stable").version == 4
    assert world.repository.shadow("a") is None


@pytest.mark.parametrize("config", [policy(), policy(latest=1)])
def test_a_shadow_is_not_one_of_the_latest(config):
    """Else it would be the only one served, and answer everybody."""
    store = Store(a=[1, 2, 3])
    store.configurations["a"] = config
    store.all_labels["a"] = Labels(shadow=3)
    world = World(store, versions_served=1).settle()
    assert [m.version for m in world.repository.models()] == [2, 3]
    assert world.repository.resolve("a").version == 2
    assert world.repository.shadow("a").version == 3
    store.all_labels["a"] = Labels()
    world.settle()
    assert [m.version for m in world.repository.models()] == [3]


def test_a_shadow_without_another_version_is_served():
    store = Store(a=[1])
    store.all_labels["a"] = Labels(shadow=1)
    assert World(store, versions_served=1).settle().repository.resolve("a").version == 1


def ensemble(*parts):
    config = ModelConfig()
    for part in parts:
        config.ensemble_scheduling.step.add(model_name=part)
    return config


def test_an_ensemble_is_loaded_after_its_parts():
    store = Store(a=[1], b=[1], c=[1])
    store.configurations.update(a=ensemble("b"), b=ensemble("c"))
    world = World(store).settle()
    assert [name for name, _ in world.loads.asked] == ["c", "b", "a"]


def test_an_ensemble_that_failed_is_tried_again_once_a_part_is_there():
    store = Store(a=[1], b=[1])
    store.configurations["a"] = ensemble("b")
    world = World(store, bad=[("a", 1), ("b", 1)]).settle()
    assert {e.state for e in world.repository.entries()} == {State.UNAVAILABLE}
    world.loads.bad.clear()
    store.tags["b", 1] = "mended"
    world.settle()
    assert world.repository.resolve("a").version == 1


def test_ensembles_that_contain_each_other_do_not_wait_for_ever():
    store = Store(a=[1], b=[1])
    store.configurations.update(a=ensemble("b"), b=ensemble("a"))
    world = World(store, bad=[("a", 1), ("b", 1)]).settle()
    assert world.repository.is_complete


def test_one_that_loads_for_long_does_not_hold_up_another():
    store = Store(slow=[1], quick=[1])
    world = World(store)
    begun, release = threading.Event(), threading.Event()
    load = world.loads.__call__

    def slowly(name, version, files, config):
        if name == "slow":
            begun.set()
            assert release.wait(30)
        return load(name, version, files, config)

    watcher = Watcher(
        store, world.repository, slowly, versions_served=1, poll_interval_s=0.01, parallel_loads=2
    )
    watcher.start()
    try:
        assert begun.wait(30)
        until = time.monotonic() + 10
        while not any(m.name == "quick" for m in world.repository.models()):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert world.states["slow", 1] is State.LOADING
        assert not world.repository.is_complete
    finally:
        release.set()
        watcher.stop()


def test_loading_by_request_is_for_explicit_control():
    with pytest.raises(FailedPrecondition, match="not allowed if polling is enabled"):
        World(Store()).watcher.load("a")
    with pytest.raises(FailedPrecondition, match="INFERENCE_MODEL_CONTROL"):
        World(Store()).watcher.unload("a")


@pytest.mark.parametrize("version", ["one", "1.0", "-2", " 1", "²", "9" * 5000])
def test_versions_are_numbers(version):
    with pytest.raises(InvalidArgument, match="allowed are a whole number"):
        World(Store(a=[1])).settle().repository.resolve("a", version)
