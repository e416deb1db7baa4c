"""The watcher against a store in memory: what is served after which events."""

from types import SimpleNamespace

import numpy as np
import pytest

from services.inference.engine import Engine
from services.inference.plan import Plan
from services.inference.repository import Model, Repository, State
from services.inference.signature import Signature
from services.inference.watcher import Watcher
from wintergarden.errors import DataLoss, InvalidArgument, NotFound, Unavailable
from wintergarden.runtime import TensorSpec


class Store:
    def __init__(self, **published):
        self.versions = {name: set(versions) for name, versions in published.items()}
        self.lists = 0

    def fingerprint(self):
        return repr(sorted((n, sorted(v)) for n, v in self.versions.items()))

    def published(self):
        self.lists += 1
        return {name: sorted(versions) for name, versions in self.versions.items()}


class Identity:
    def run(self, feeds, outputs=None):
        return [feeds["x"]]


class Loads:
    """A loader that fails for the versions in `bad` and remembers what it was asked for."""

    def __init__(self, bad=()):
        self.bad, self.asked = set(bad), []

    def __call__(self, name, version):
        self.asked.append((name, version))
        if (name, version) in self.bad:
            raise DataLoss("model.onnx: sha256 differs")
        spec = (TensorSpec("x", "FP32", (-1, 1)),)
        signature = Signature(name, str(version), spec, spec, is_rowwise=True)
        engine = Engine(Identity(), Plan(("x",)), signature.label)
        return Model(name, version, signature, engine, 0.1)


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
        while self.watcher.step():
            pass
        self.watcher.step()
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
    monkeypatch.setattr("services.inference.watcher._FIRST_RETRY_S", 0.0)
    world = World(Store(a=[1]), bad=[("a", 1)])
    assert world.watcher.step()
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


def test_the_store_is_listed_only_when_it_has_changed():
    world = World(Store(a=[1])).settle()
    lists = world.store.lists
    world.settle()
    assert world.store.lists == lists


@pytest.mark.parametrize("version", ["one", "1.0", "-2", " 1", "²", "9" * 5000])
def test_versions_are_numbers(version):
    with pytest.raises(InvalidArgument, match="allowed are a whole number"):
        World(Store(a=[1])).settle().repository.resolve("a", version)
