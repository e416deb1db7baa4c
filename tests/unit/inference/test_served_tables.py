"""What a request finds in the repository: versions, labels, splits, shadows, sequences."""

from collections import Counter

import pytest

from services.inference.repository.lifecycle import Lifecycle
from services.inference.repository.repository import Entry, Model, Repository, State
from services.inference.repository.traffic import Split
from services.inference.scheduling.scheduler import SequenceControl
from services.inference.scheduling.statistics import Statistics
from services.inference.signature import Signature
from wintergarden.errors import DataLoss, InvalidArgument, NotFound, Unavailable
from wintergarden.runtime import TensorSpec
from wintergarden.store.labels import Labels

SPEC = (TensorSpec("x", "FP32", (-1, 1)),)


class Scheduler:
    """Holds the sequences it was given until it is told to be drained."""

    def __init__(self, *sequences):
        self.statistics, self.waiting = Statistics(), 0
        self.sequences, self.is_closed = set(sequences), False

    def holds(self, sequence):
        return sequence in self.sequences

    @property
    def is_drained(self):
        return self.is_closed and not self.sequences

    def submit(self, requests):
        raise AssertionError

    def end(self, sequence):
        self.sequences.discard(sequence)

    def close(self):
        self.is_closed = True


def of(sequence, *, is_start=False):
    return SequenceControl(sequence, is_start, is_end=False)


def model(name, version, *sequences):
    signature = Signature(name, str(version), SPEC, SPEC, is_rowwise=True)
    return Model(name, version, signature, Scheduler(*sequences), 0.1)


def served(*versions, name="m"):
    repository = Repository()
    Lifecycle(repository).serve([model(name, v) for v in versions], "")
    repository.complete()
    return repository


def test_without_labels_the_latest_answers():
    repository = served(1, 3)
    assert repository.resolve("m").version == 3
    assert repository.resolve("m", "-1").version == 3
    assert repository.shadow("m") is None


def test_labels_are_versions_by_name():
    repository = served(1, 2, 3)
    repository.relabel("m", Labels(labels={"stable": 1, "canary": 2, "next": 9}))
    assert repository.resolve("m", "stable").version == 1
    assert repository.resolve("m", "canary").version == 2
    assert repository.resolve("m").version == 3
    with pytest.raises(NotFound, match="no version 9; versions are 1, 2, 3"):
        repository.resolve("m", "next")
    with pytest.raises(InvalidArgument, match="labels are canary, next, stable"):
        repository.resolve("m", "beta")


def test_a_split_shares_out_the_requests_that_name_no_version():
    repository = served(1, 2, 3)
    repository.relabel(
        "m", Labels(labels={"stable": 1, "canary": 2}, split={"stable": 0.9, "canary": 0.1})
    )
    counts = Counter(repository.resolve("m").version for _ in range(4000))
    assert set(counts) == {1, 2}
    assert 300 < counts[2] < 500
    assert repository.resolve("m", "3").version == 3
    assert repository.resolve("m", "-1").version in (1, 2)


def test_the_requests_of_a_sequence_go_to_one_version():
    repository = served(1, 2)
    repository.relabel("m", Labels(labels={"a": 1, "b": 2}, split={"a": 0.5, "b": 0.5}))
    chosen = {s: {repository.resolve("m", "", of(s)).version for _ in range(20)} for s in range(50)}
    assert all(len(versions) == 1 for versions in chosen.values())
    assert {version for versions in chosen.values() for version in versions} == {1, 2}


def test_a_share_that_is_not_served_goes_to_the_others_and_never_to_a_third():
    repository = served(2, 3)
    repository.relabel("m", Labels(labels={"a": 1, "b": 2}, split={"a": 0.9, "b": 0.1}))
    assert {repository.resolve("m").version for _ in range(50)} == {2}
    repository.relabel("m", Labels(labels={"a": 1}, split={"a": 1.0}))
    with pytest.raises(Unavailable, match="no version to serve"):
        repository.resolve("m")
    repository.relabel("m", Labels())
    assert repository.resolve("m").version == 3


def test_a_share_of_nothing_gets_nothing():
    repository = served(1, 2)
    repository.relabel("m", Labels(labels={"a": 1, "b": 2}, split={"a": 1.0, "b": 0.0}))
    assert {repository.resolve("m").version for _ in range(50)} == {1}


def test_a_shadow_answers_beside_the_others():
    repository = served(1, 2)
    repository.relabel("m", Labels(shadow=1))
    assert repository.shadow("m").version == 1
    assert repository.resolve("m").version == 2
    repository.relabel("m", Labels(shadow=7))
    assert repository.shadow("m") is None


def test_a_shadow_answers_nobody_while_there_is_another():
    repository = served(4, 5)
    repository.relabel("m", Labels(labels={"next": 5}, shadow=5))
    assert repository.shadow("m").version == 5
    assert repository.resolve("m").version == repository.resolve("m", "-1").version == 4
    assert repository.resolve("m", "5").version == repository.resolve("m", "next").version == 5
    repository.remove(repository.get("m", 4))
    assert repository.resolve("m").version == 5
    repository = served(4, 5)
    repository.relabel("m", Labels(shadow=4))
    assert repository.resolve("m").version == 5


def test_a_sequence_under_way_finishes_where_it_began():
    repository = served(1)
    old = repository.resolve("m")
    old.scheduler.sequences.add(5)
    Lifecycle(repository).serve([model("m", 2)], "")
    assert repository.resolve("m", "", of(5)) is old
    assert repository.resolve("m", "", of(6)).version == 2
    assert repository.resolve("m").version == 2


def test_a_sequence_outlives_the_reload_of_its_version():
    repository = served(1)
    old, lifecycle = repository.resolve("m"), Lifecycle(repository)
    old.scheduler.sequences.add(5)
    lifecycle.serve([model("m", 1)], "again")
    new = repository.resolve("m")
    assert new is not old
    assert old.scheduler.is_closed
    assert repository.resolve("m", "", of(5)) is old
    assert repository.resolve("m", "1", of(5)) is old
    assert repository.resolve("m", "", of(6)) is new
    lifecycle.forget_drained()
    assert repository.resolve("m", "", of(5)) is old
    old.scheduler.sequences.clear()
    lifecycle.forget_drained()
    assert repository.resolve("m", "", of(5)) is new


def test_a_withdrawn_version_keeps_its_sequences_and_takes_no_others():
    repository = served(1)
    old, lifecycle = repository.resolve("m"), Lifecycle(repository)
    old.scheduler.sequences.add(5)
    lifecycle.withdraw(repository.get("m", 1))
    assert repository.resolve("m", "", of(5)) is old
    with pytest.raises(Unavailable, match="unloading"):
        repository.resolve("m", "", of(6))
    assert lifecycle.forget_drained() == []
    old.scheduler.sequences.clear()
    assert [entry.version for entry in lifecycle.forget_drained()] == [1]
    with pytest.raises(NotFound):
        repository.resolve("m")


def test_a_failure_leaves_what_answers_and_says_why_beside_it():
    repository = served(1)
    lifecycle = Lifecycle(repository)
    lifecycle.fail("m", 1, DataLoss("another file"), "2")
    lifecycle.fail("m", 2, ValueError("secret"), "1")
    assert repository.resolve("m").version == 1
    assert repository.get("m", 1).reason == "another file"
    assert repository.get("m", 2).state is State.UNAVAILABLE
    assert "secret" not in repository.get("m", 2).reason


def test_what_is_known_is_not_overwritten_by_what_is_merely_listed():
    repository = served(1)
    repository.put_missing(Entry("m", 1, State.UNAVAILABLE, "not loaded"))
    repository.put_missing(Entry("m", 2, State.UNAVAILABLE, "not loaded"))
    assert [entry.state for entry in repository.of("m")] == [State.READY, State.UNAVAILABLE]


def test_shares_need_not_sum_to_one():
    split = Split(["a", "b"], [3, 1])
    counts = Counter(split.choose() for _ in range(4000))
    assert 850 < counts["b"] < 1150


def test_a_sequence_that_begins_anew_elsewhere_has_ended_where_it_was():
    """Else the requests that go on with it would find the old states."""
    repository = served(1, 2)
    old, new = repository.resolve("m", "1"), repository.resolve("m", "2")
    for scheduler in (old.scheduler, new.scheduler):
        scheduler.sequences |= {5, 6}
    repository.relabel("m", Labels(labels={"a": 1}, split={"a": 1.0}))
    assert repository.resolve("m", "", of(5, is_start=True)) is old
    assert (old.scheduler.sequences, new.scheduler.sequences) == ({5, 6}, {6})
    assert repository.resolve("m", "", of(5)) is old
    assert repository.resolve("m", "2", of(6, is_start=True)) is new
    assert 6 in old.scheduler.sequences, "a version by its number has sequences of its own"


def test_a_sequence_begins_anew_on_what_replaced_its_version():
    repository = served(1)
    old = repository.resolve("m")
    old.scheduler.sequences.add(5)
    Lifecycle(repository).serve([model("m", 1)], "again")
    new = repository.resolve("m", "1", of(5, is_start=True))
    assert new is not old
    assert not old.holds(5)
    assert repository.resolve("m", "1", of(5)) is new


def test_a_failed_load_leaves_those_alone_that_finish():
    repository = served(1)
    lifecycle = Lifecycle(repository)
    old = repository.resolve("m")
    old.scheduler.sequences.add(5)
    lifecycle.withdraw(repository.get("m", 1))
    lifecycle.fail("m", 1, DataLoss("a hole"), "new")
    assert repository.resolve("m", "", of(5)) is old
    assert repository.get("m", 1).state is State.UNLOADING


def test_only_the_very_entry_is_removed():
    repository = served(1)
    entry = repository.get("m", 1)
    Lifecycle(repository).serve([model("m", 1)], "again")
    repository.remove(entry)
    assert repository.get("m", 1) is not None
