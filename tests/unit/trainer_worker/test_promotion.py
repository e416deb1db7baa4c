"""Who makes a version stable: the attempt that holds the job, once, whatever dies on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.promotion import Promoter
from wintergarden.errors import Unavailable
from wintergarden.jobs import Attempt, Jobs, LogWritten, StaleFence, TrainingSpec
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.store import ManifestFields, TensorInfo, open_store
from wintergarden.store.labels import Labels
from wintergarden.store.promotion import plan_promotion

X = TensorInfo(name="x", datatype="FP32", shape=(-1, 3))


def publish(store: Path, accuracy: float, *conditions: str) -> int:
    opened = open_store(str(store))
    with opened.publish("net") as draft:
        draft.write("model.onnx", b"x")
        fields = ManifestFields(
            architecture="a",
            task="unknown",
            inputs=(X,),
            outputs=(X,),
            metrics={"test_accuracy": accuracy},
            promotion=plan_promotion(opened, "net", conditions) if conditions else None,
        )
        return draft.commit(fields).version


@pytest.fixture
def claim(jobs: Jobs) -> Callable[..., Attempt]:
    def claim(*conditions: str) -> Attempt:
        spec = TrainingSpec("scripted", "none", "net", promote=conditions)
        attempt = jobs.claim(jobs.submit(spec).id, "worker", 30.0)
        assert attempt is not None
        return attempt

    return claim


def told(jobs: Jobs, attempt: Attempt) -> list[tuple[str, str]]:
    events = jobs.watch(attempt.job.id, follow=False)
    return [(e.body.level, e.body.text) for e in events if isinstance(e.body, LogWritten)]


def test_the_job_s_log_says_that_it_is_stable(
    jobs: Jobs, store: Path, claim: Callable[..., Attempt]
) -> None:
    attempt = claim("test_accuracy>=0.9")
    version = publish(store, 0.95, "test_accuracy>=0.9")
    promoter = Promoter(str(store), attempt, "net", version, is_first=True)
    for _ in range(2):
        promoter.run()
    assert told(jobs, attempt) == [("info", "version 1 of 'net' is stable")]
    assert open_store(str(store)).labels("net") == Labels(labels={"stable": 1}, revision=1)


def test_or_which_metric_it_missed(jobs: Jobs, store: Path, claim: Callable[..., Attempt]) -> None:
    attempt = claim("test_accuracy>=0.9")
    version = publish(store, 0.5, "test_accuracy>=0.9")
    Promoter(str(store), attempt, "net", version, is_first=True).run()
    assert told(jobs, attempt) == [
        (
            "warning",
            "version 1 of 'net' is not made stable: test_accuracy is 0.5, at least 0.9 is wanted",
        )
    ]
    assert open_store(str(store)).labels("net") == Labels()


def test_a_job_without_conditions_touches_no_label(
    jobs: Jobs, store: Path, claim: Callable[..., Attempt]
) -> None:
    attempt = claim()
    Promoter("s3://nowhere", attempt, "net", 1, is_first=True).run()
    assert told(jobs, attempt) == []


def test_a_superseded_attempt_promotes_nothing(
    server: ValkeyServer, jobs: Jobs, store: Path, claim: Callable[..., Attempt]
) -> None:
    attempt = claim("test_accuracy>=0.9")
    version = publish(store, 0.95, "test_accuracy>=0.9")
    server.expire_lease(attempt.job.id)
    jobs.reap()
    with pytest.raises(StaleFence):
        Promoter(str(store), attempt, "net", version, is_first=True).run()
    assert open_store(str(store)).labels("net") == Labels()

    later = jobs.claim(attempt.job.id, "another", 30.0)
    assert later is not None
    Promoter(str(store), later, "net", version, is_first=False).run()
    assert open_store(str(store)).labels("net").labels == {"stable": 1}


def test_without_redis_nothing_is_promoted_and_it_may_be_tried_again(
    server: ValkeyServer, store: Path, claim: Callable[..., Attempt]
) -> None:
    attempt = claim("test_accuracy>=0.9")
    version = publish(store, 0.95, "test_accuracy>=0.9")
    promoter = Promoter(str(store), attempt, "net", version, is_first=True)
    server.kill()
    try:
        with pytest.raises(Unavailable):
            promoter.run()
        assert open_store(str(store)).labels("net") == Labels()
    finally:
        server.start()
    promoter.run()
    assert open_store(str(store)).labels("net").labels == {"stable": 1}


def test_a_store_that_does_not_answer_costs_the_label_and_not_the_job(
    jobs: Jobs, claim: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "nowhere")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    attempt = claim("test_accuracy>=0.9")
    Promoter("s3://nowhere", attempt, "net", 3, is_first=True, patience_s=0.0).run()
    ((level, text),) = told(jobs, attempt)
    assert level == "warning"
    assert text.startswith(
        "version 3 of 'net' is published, but could not be made stable: s3://nowhere does not "
        "answer"
    )


def test_a_version_that_is_gone_is_said(
    jobs: Jobs, store: Path, claim: Callable[..., Attempt]
) -> None:
    attempt = claim("test_accuracy>=0.9")
    Promoter(str(store), attempt, "net", 1, is_first=True).run()
    ((level, text),) = told(jobs, attempt)
    assert (level, text) == (
        "warning",
        "version 1 of 'net' is published, but could not be made stable: no model 'net'; the "
        "store is empty",
    )
