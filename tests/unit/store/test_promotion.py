"""Which version becomes stable, on every storage; nobody's change is undone, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wintergarden.errors import InvalidArgument, NotFound, Unavailable
from wintergarden.store import Manifest, ManifestFields, ModelStore
from wintergarden.store.labels import Labels
from wintergarden.store.promotion import (
    Condition,
    Verdict,
    check_conditions,
    check_variants,
    metrics_of,
    parse_conditions,
    plan_promotion,
    promote,
)

Publish = Callable[..., Manifest]


@pytest.fixture
def publish_with(relu: bytes, fields: ManifestFields) -> Publish:
    """publish_with(store, "test_accuracy>=0.9", test_accuracy=0.95): as a training does."""

    def publish(store: ModelStore, *conditions: str, **metrics: float) -> Manifest:
        with store.publish("net") as draft:
            draft.write("model.onnx", relu)
            rule = plan_promotion(store, "net", conditions)
            return draft.commit(fields.model_copy(update={"metrics": metrics, "promotion": rule}))

    return publish


def attempt(store: ModelStore, manifest: Manifest, *, is_first: bool = True) -> Verdict:
    verdict = promote(store, manifest, is_first=is_first, hold=lambda: None)
    assert verdict is not None
    return verdict


def set_label(store: ModelStore, label: str, version: int) -> None:
    labels = store.labels("net")
    store.set_labels("net", labels.model_copy(update={"labels": {**labels.labels, label: version}}))


def test_a_version_that_is_good_enough_becomes_stable(
    store: ModelStore, publish_with: Publish
) -> None:
    manifest = publish_with(
        store, "test_accuracy>=0.9", "export_parity <= 1e-4", test_accuracy=0.9, export_parity=1e-5
    )
    assert attempt(store, manifest) == Verdict(True, "version 1 of 'net' is stable")
    assert store.labels("net") == Labels(labels={"stable": 1}, revision=1)


def test_one_that_is_not_says_which_metric_and_by_how_much(
    store: ModelStore, publish_with: Publish
) -> None:
    manifest = publish_with(
        store,
        "test_accuracy>=0.97",
        "export_parity<=1e-05",
        "test_accuracy_int8>=0.9",
        test_accuracy=0.91,
        export_parity=2e-5,
    )
    assert attempt(store, manifest).reason == (
        "version 1 of 'net' is not made stable: test_accuracy is 0.91, at least 0.97 is wanted; "
        "export_parity is 2e-05, at most 1e-05 is wanted; test_accuracy_int8 was not measured, "
        "at least 0.9 is wanted"
    )
    assert store.labels("net") == Labels()


def test_a_version_without_a_rule_is_left_alone(
    store: ModelStore, publish: Callable[..., int]
) -> None:
    publish(store, "net")
    manifest = store.read_manifest("net", 1)
    assert promote(store, manifest, is_first=True, hold=pytest.fail) is None


def test_promoting_twice_is_promoting_once(store: ModelStore, publish_with: Publish) -> None:
    manifest = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    attempt(store, manifest)
    for is_first in (True, False):
        assert attempt(store, manifest, is_first=is_first).is_stable
    assert store.labels("net").revision == 1


def test_a_later_attempt_finishes_what_the_first_did_not_begin(
    store: ModelStore, publish_with: Publish
) -> None:
    publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    found = store.read_manifest("net", 1)
    assert attempt(store, found, is_first=False).is_stable


def test_a_later_attempt_does_not_undo_a_rollback(store: ModelStore, publish_with: Publish) -> None:
    set_label_to_1 = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    attempt(store, set_label_to_1)
    second = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    assert attempt(store, second).is_stable
    set_label(store, "stable", 1)
    verdict = attempt(store, second, is_first=False)
    assert not verdict.is_stable
    assert "labels were changed since it was published" in verdict.reason
    assert store.labels("net").labels == {"stable": 1}


def test_what_others_do_to_the_label_meanwhile_stands(
    store: ModelStore, publish_with: Publish
) -> None:
    for _ in range(2):
        publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    third = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    set_label(store, "stable", 2)
    assert "version 2 is stable now" in attempt(store, third).reason
    assert store.labels("net").labels == {"stable": 2}


def test_other_labels_keep_the_values_they_have_at_that_moment(
    store: ModelStore, publish_with: Publish
) -> None:
    manifest = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    left = ["canary", "preview"]

    def others_change_them() -> None:
        if left:
            set_label(store, left.pop(), 1)

    verdict = promote(store, manifest, is_first=True, hold=others_change_them)
    assert verdict is not None
    assert verdict.is_stable
    assert store.labels("net").labels == {"stable": 1, "canary": 1, "preview": 1}


def test_a_newer_version_is_not_replaced_by_an_older_one(
    store: ModelStore, publish_with: Publish, fields: ManifestFields
) -> None:
    """The older number is claimed first and published last."""
    with store.publish("net") as draft:
        newer = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
        attempt(store, newer)
        draft.write("model.onnx", b"x")
        rule = plan_promotion(store, "net", ["bytes>=0"])
        older = draft.commit(
            fields.model_copy(update={"metrics": {"bytes": 1.0}, "promotion": rule})
        )
    assert (older.version, newer.version) == (1, 2)
    assert "version 2 is, and it is newer" in attempt(store, older).reason


def test_an_attempt_that_lost_the_job_promotes_nothing(
    store: ModelStore, publish_with: Publish
) -> None:
    manifest = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)

    class Stale(Exception):
        pass

    def hold() -> None:
        raise Stale

    with pytest.raises(Stale):
        promote(store, manifest, is_first=True, hold=hold)
    assert store.labels("net") == Labels()


def test_one_that_slept_between_looking_and_writing_undoes_nothing(
    store: ModelStore, publish_with: Publish
) -> None:
    """SIGSTOP after the last look at the fence; another attempt promotes, somebody rolls back."""

    class Stale(Exception):
        pass

    publish_with(store)
    set_label(store, "stable", 1)
    manifest = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    looks = 0

    def hold() -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise Stale
        assert attempt(store, manifest, is_first=False).is_stable
        set_label(store, "stable", 1)

    with pytest.raises(Stale):
        promote(store, manifest, is_first=True, hold=hold)
    assert store.labels("net").labels == {"stable": 1}


def test_many_jobs_that_promote_at_once_end_with_the_newest(
    store: ModelStore, publish_with: Publish
) -> None:
    manifests = [publish_with(store, "test_accuracy>=0", test_accuracy=1.0) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        verdicts = list(pool.map(lambda m: attempt(store, m), manifests))
    stable = store.labels("net").labels["stable"]
    assert verdicts[stable - 1].is_stable
    assert store.labels("net").revision == sum(verdict.is_stable for verdict in verdicts)


def test_a_storage_that_lets_no_swap_succeed_is_said(
    store: ModelStore, publish_with: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    monkeypatch.setattr(store._objects, "swap", lambda *_: False)
    with pytest.raises(Unavailable, match="change too fast"):
        attempt(store, manifest)


def test_a_deleted_version_is_not_promoted(store: ModelStore, publish_with: Publish) -> None:
    manifest = publish_with(store, "test_accuracy>=0", test_accuracy=1.0)
    publish_with(store)
    store.delete("net", 1)
    with pytest.raises(NotFound, match="no version 1"):
        attempt(store, manifest)


@given(
    st.builds(
        Condition,
        st.sampled_from(metrics_of(("fp16", "int8"))),
        st.booleans(),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda x: float(f"{x:g}")),
    )
)
def test_a_condition_reads_what_it_writes(condition: Condition) -> None:
    assert parse_conditions([str(condition)]) == [condition]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "test_accuracy",
        "test_accuracy>0.9",
        "test_accuracy>=",
        ">=1",
        "a>=b",
        "a>=nan",
        "a<=inf",
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no condition; allowed are <metric>>=") as caught:
        parse_conditions([text])
    assert caught.value.field == "promote"


def test_unknown_metrics_are_refused_with_those_there_are() -> None:
    check_conditions(parse_conditions(["test_accuracy_fp16>=0.9"]), ["fp16"])
    with pytest.raises(InvalidArgument, match="no metric 'accuracy' is measured; there are bytes,"):
        check_conditions(parse_conditions(["accuracy>=0.9"]), [])
    with pytest.raises(InvalidArgument, match="ask for variant int8 to have it measured"):
        check_conditions(parse_conditions(["test_accuracy_int8>=0.9"]), ["fp16"])


def test_unknown_variants_are_refused_with_those_there_are() -> None:
    check_variants(["fp16", "int8"])
    with pytest.raises(InvalidArgument, match="variant 'int4' is unknown; allowed are fp16, int8"):
        check_variants(["int4"])


def test_a_metric_that_is_no_number_meets_no_condition() -> None:
    condition = parse_conditions(["test_accuracy>=0.9"])[0]
    assert condition.shortfall({"test_accuracy": float("nan")})
