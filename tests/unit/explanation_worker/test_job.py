"""What the process of an explanation job does, at the other end of a control that only listens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.explanation.arrays import Array
from services.explanation.explain import Explanation, explain
from services.explanation.pictures import Picture
from services.explanation.subject import Subject
from services.explanation.testing import EXAMPLES, FEATURES, publish_linear
from services.explanation.worker import job
from services.explanation.worker.work import GRADIENT_BLOCK_ROWS
from wintergarden.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    StorageFull,
)
from wintergarden.jobs.results import MAX_INDEX_BYTES, Result
from wintergarden.store import open_store
from wintergarden.store.arrays import unpack
from wintergarden.store.job_files import JobFiles, open_job_files
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire import tensors
from wintergarden.worker.control import Stopped
from wintergarden.worker.space import when_there_is_space


@dataclass
class Control:
    """Keeps what it is told; stops the work after some checkpoints."""

    stop_after: int = 1_000
    checkpoints: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    fractions: list[float] = field(default_factory=list)

    def check(self) -> None:
        if len(self.checkpoints) >= self.stop_after:
            raise Stopped("cancelled")

    def progress(self, phase: str, fraction: float, step: int = 0, *, is_due: bool = True) -> None:
        self.check()
        self.fractions.append(fraction)

    def log(self, level: str, text: str) -> None:
        self.logs.append(text)

    def picture(self, name: str, caption: str, step: int) -> None:
        self.pictures.append(name)

    def keep_checkpoint(self, name: str, step: int) -> bool:
        self.checkpoints.append(name)
        return True

    def say(self, type_: str, **content: Any) -> None:
        pass


class Job:
    """One job: its request in the store, and orders for its attempts."""

    def __init__(self, store_uri: str) -> None:
        self.store_uri = store_uri
        self.files = open_job_files(store_uri, "job-1")
        request = pb.SubmitExplanationRequest()
        request.explain.model_name = "table"
        request.explain.method = "kernel_shap"
        request.explain.max_evaluations = 200 * 20
        request.explain.render = True
        request.examples.count = 24
        self.put(request)

    def put(self, request: pb.SubmitExplanationRequest) -> None:
        content = request.SerializeToString(deterministic=True)
        self.files.put("request.pb", content)
        manifest = open_store(self.store_uri).read_manifest("table", 1)
        self.order = {
            "kind": "explain",
            "job_id": "job-1",
            "store_uri": self.store_uri,
            "operation": "explain",
            "method": "kernel_shap",
            "model": "table",
            "version": 1,
            "digest": manifest.digest,
            "request": hashlib.sha256(content).hexdigest(),
            "examples": [0, 24],
        }

    def run(self, control: Control | None = None, fence: int = 1, **changes: Any) -> dict[str, Any]:
        told: Any = control or Control()
        return dict(job.run(json.dumps({**self.order, "fence": fence, **changes}), told))

    def numbers(self, fence: int = 1) -> bytes:
        return self.files.read(f"{fence}/result.npz", 1 << 20)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Its pictures are drawn at once."""

    def draw(answer: Explanation) -> list[Picture]:
        return [Picture(f"kernel-shap-{row}.png", b"a picture") for row in range(len(answer.rows))]

    monkeypatch.setattr("services.explanation.worker.work.explanation_pictures", draw)
    store_uri = str(tmp_path / "store")
    publish_linear(store_uri)
    return Job(store_uri)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a file of this name not fit any more; "" has all fit again."""

    def fill(name: str) -> None:
        refused[:] = [name] if name else []

    refused: list[str] = []
    put = JobFiles.put

    def refuse(self: JobFiles, name: str, content: bytes | Path) -> Any:
        if any(name.endswith(end) for end in refused):
            raise StorageFull("no space is left")
        return put(self, name, content)

    monkeypatch.setattr(JobFiles, "put", refuse)
    return fill


def test_an_attempt_goes_on_where_the_one_before_was_stopped(work: Job) -> None:
    work.run(fence=1)
    expected = work.numbers(1)
    first = Control(stop_after=1)
    with pytest.raises(Stopped):
        work.run(first, fence=2)
    second = Control(stop_after=1)
    with pytest.raises(Stopped):
        work.run(second, fence=3, checkpoint=first.checkpoints[-1])
    last = Control()
    told = work.run(last, fence=4, checkpoint=second.checkpoints[-1])

    assert work.numbers(4) == expected
    assert (first.checkpoints, second.checkpoints) == (
        ["2/checkpoint-1.json"],
        ["3/checkpoint-2.json"],
    )
    assert last.checkpoints == ["4/checkpoint-3.json", "4/result.json"]
    assert last.logs == ["resumed after 16 rows"]
    assert last.fractions == sorted(last.fractions)
    assert first.fractions == sorted(first.fractions)
    assert [name for c in (first, second, last) for name in c.pictures] == [
        *(f"2/kernel-shap-{row}.png" for row in range(8)),
        *(f"3/kernel-shap-{row}.png" for row in range(8, 16)),
    ]
    assert told["metrics"]["rows"] == 24
    assert told["version"] == 0, "nothing is published"


def test_a_result_that_is_there_is_not_made_again(work: Job) -> None:
    first = work.run(fence=1)
    again = Control()
    assert work.run(again, fence=2, checkpoint="1/result.json") == first
    assert (again.checkpoints, again.pictures) == ([], [])


def test_blocks_that_have_gone_are_made_again(work: Job) -> None:
    work.run(fence=1)
    control = Control()
    work.run(control, fence=2, checkpoint="1/checkpoint-9.json")
    assert "cannot be used, starting again" in control.logs[0]
    assert work.numbers(2) == work.numbers(1)


@pytest.mark.parametrize("name", ["result.npz", "result.json", "checkpoint-2.json"])
def test_a_full_disk_is_waited_for(
    work: Job, full_disk: Callable[[str], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.run(fence=1)
    full_disk(name)
    monkeypatch.setattr("wintergarden.worker.space._FIRST_WAIT_S", 0.0)

    class Waiting(Control):
        def log(self, level: str, text: str) -> None:
            assert "2/result.json" not in work.files.names()
            super().log(level, text)
            full_disk("")

    control = Waiting()
    work.run(control, fence=2)
    assert control.logs == ["trying again in 0 s: no space is left"]
    assert work.numbers(2) == work.numbers(1)


@pytest.mark.parametrize("name", ["result.npz", "result.json", "checkpoint-2.json"])
def test_a_disk_that_stays_full_costs_an_attempt_and_no_block(
    work: Job, full_disk: Callable[[str], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.run(fence=1)
    full_disk(name)
    monkeypatch.setattr(when_there_is_space, "__defaults__", (-1.0,))  # no patience
    control = Control()
    with pytest.raises(StorageFull):
        work.run(control, fence=2)
    assert "2/result.json" not in work.files.names()
    full_disk("")
    work.run(fence=3, checkpoint=control.checkpoints[-1])
    assert work.numbers(3) == work.numbers(1)


def test_another_version_than_was_submitted_is_not_explained(work: Job) -> None:
    with pytest.raises(FailedPrecondition, match="is another than the job was submitted for"):
        work.run(digest="0" * 64)
    open_store(work.store_uri).delete("table", 1)
    with pytest.raises(FailedPrecondition, match="has been deleted"):
        work.run()


def test_a_version_that_goes_meanwhile_ends_the_work(
    work: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_PIN_S", 0.0)

    class Deleting(Control):
        def keep_checkpoint(self, name: str, step: int) -> bool:
            open_store(work.store_uri).delete("table", 1)
            return super().keep_checkpoint(name, step)

    control = Deleting()
    with pytest.raises(FailedPrecondition, match="has been deleted"):
        work.run(control)
    assert len(control.checkpoints) == 1


def test_a_request_that_is_another_is_not_answered(work: Job) -> None:
    work.files.put("request.pb", b"another")
    with pytest.raises(DataLoss, match="is not what was submitted"):
        work.run()


@pytest.mark.parametrize(
    ("examples", "targets", "reason"),
    [
        ([60, 10], [], "examples 60 to 69: model 'table' version 1 has 64, 0 to 63"),
        ([64, 0], [], "examples from 64 on: model 'table' version 1 has 64, 0 to 63"),
        ([0, 4], [7], "targets: 7 is not among 0 to 2"),
        ([0, 4], [1, 2], "2 targets for 4 rows"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    work: Job, examples: list[int], targets: list[int], reason: str
) -> None:
    request = pb.SubmitExplanationRequest()
    request.explain.method = "saliency"
    request.explain.targets.extend(targets)
    work.put(request)
    with pytest.raises(InvalidArgument, match=reason):
        work.run(examples=examples, method="saliency")


def test_what_is_too_large_is_refused_before_it_begins(work: Job) -> None:
    control = Control()
    with pytest.raises(InvalidArgument, match="9216 bytes; 9000 are allowed in one job"):
        work.run(control, max_result_bytes=9_000)
    assert not control.checkpoints


def test_held_out_examples_of_an_attack_come_with_their_labels(work: Job) -> None:
    request = pb.SubmitExplanationRequest()
    request.attack.model_name = "table"
    request.attack.method = "fgsm"
    request.attack.epsilon = 0.3
    request.examples.start = 4
    work.put(request)
    told = work.run(operation="attack", method="fgsm", examples=[4, 0])
    arrays = unpack(work.numbers(), 1 << 20)
    assert arrays["adversarial"].shape == (EXAMPLES - 4, FEATURES)
    np.testing.assert_array_equal(arrays["labels"], arrays["predictions_before"])
    assert told["metrics"]["success_rate"] == arrays["successes"].mean()


def test_of_a_single_row_it_tells_how_much_is_done(
    work: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block's method says how many rows it runs: forty batches are forty equal steps."""
    monkeypatch.setattr("services.explanation.subject._BATCH_BYTES", 100 * 4 * FEATURES)
    control = Control()
    work.run(control, examples=[0, 1])
    within = [fraction for fraction in control.fractions if fraction <= job.BLOCKS_END]
    assert len(within) > 40
    assert max(np.diff(within)) < 2 * job.BLOCKS_END / 40


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_exact_is_what_is_exact_in_all_blocks(
    work: Job, monkeypatch: pytest.MonkeyPatch, first: bool, second: bool
) -> None:
    """Also where another attempt did the first."""
    told = iter([first, second])

    def explained(*asked: Any) -> Explanation:
        return replace(explain(*asked), is_exact=next(told))

    monkeypatch.setattr("services.explanation.worker.work.explain", explained)
    stopped = Control(stop_after=1)
    with pytest.raises(Stopped):
        work.run(stopped, examples=[0, 16])
    work.run(fence=2, examples=[0, 16], checkpoint=stopped.checkpoints[-1])
    result = Result.from_json(work.files.read("2/result.json", MAX_INDEX_BYTES))
    assert result.summary["exact"] == (first and second)


@pytest.mark.parametrize("method", ["fgsm", "pgd", "deepfool"])
def test_a_curve_counts_what_was_run(
    work: Job, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    run: list[int] = []
    batches = Subject._batches

    def counted(self: Subject, rows: Array) -> Iterator[Array]:
        run.append(len(rows))
        return batches(self, rows)

    monkeypatch.setattr(Subject, "_batches", counted)
    request = pb.SubmitExplanationRequest()
    request.robustness.method = method
    request.robustness.epsilons[:] = [0.1, 0.2]
    work.put(request)
    told = work.run(operation="robustness", method=method, examples=[])
    assert told["metrics"]["evaluations"] == sum(run)
    if method == "fgsm":
        assert sum(run) == 2 * 3 * EXAMPLES


@pytest.mark.parametrize("kind", ["explain", "attack"])
@pytest.mark.parametrize("row", [1, GRADIENT_BLOCK_ROWS + 1])
def test_outputs_that_are_not_finite_are_refused_at_once(work: Job, kind: str, row: int) -> None:
    request = pb.SubmitExplanationRequest()
    method = "saliency" if kind == "explain" else "fgsm"
    asked = request.explain if kind == "explain" else request.attack
    asked.method = method
    rows = np.ones((row + 2, FEATURES), np.float32)
    rows[row] = 3e38
    asked.input.CopyFrom(tensors.to_message("features", rows))
    if kind == "attack":
        request.attack.epsilon = 0.1
        request.attack.value_range[:] = [0, 3.2e38]
    work.put(request)
    control = Control()
    told = f"output 'logits' of model 'table' version 1 is inf for row {row}; "
    with pytest.raises(InvalidArgument, match=told):
        work.run(control, operation=kind, method=method, examples=[])
    assert len(control.checkpoints) == row // GRADIENT_BLOCK_ROWS
