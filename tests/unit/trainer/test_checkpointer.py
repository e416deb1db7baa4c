from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from trainer.checkpoint import Origin, decode
from trainer.checkpointer import Checkpointer, restore
from wintergarden.errors import FailedPrecondition, NotFound, Unavailable

ORIGIN = Origin("mlp", {}, "d", 0, 1, "cpu", "2.13", 1, "AVX2")


@dataclass
class Training:
    step: int = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "w": torch.full((2,), float(self.step))}


@dataclass
class Files:
    """In memory; full or away where it is told so."""

    content: dict[str, bytes] = field(default_factory=dict)
    refusal: Exception | None = None

    def put(self, name: str, content: bytes) -> object:
        self._check()
        self.content[name] = content
        return None

    def read(self, name: str, limit: int) -> bytes:
        self._check()
        if name not in self.content:
            raise NotFound(f"no {name}")
        return self.content[name]

    def delete(self, name: str) -> None:
        self._check()
        self.content.pop(name, None)

    def _check(self) -> None:
        if self.refusal:
            raise self.refusal


class Job:
    """A supervisor's side: what the record names, and what the user reads."""

    def __init__(self, kept: str = "", fence: int = 3) -> None:
        self.files, self.kept, self.logged = Files(), kept, list[tuple[str, str]]()
        self.is_superseded = False
        self.now_s = 0.0
        self.seconds_per_keep = 0.0
        self.training = Training()
        self.take = Checkpointer(
            self.files,
            fence,
            ORIGIN,
            self._keep,
            self.log,
            kept=kept,
            interval_s=10,
            now_s=lambda: self.now_s,
        )

    def log(self, level: str, text: str) -> None:
        self.logged.append((level, text))

    def at(self, now_s: float, step: int, *, is_last: bool = False) -> None:
        self.now_s, self.training.step = now_s, step
        self.take(self.training, is_last)

    def _keep(self, name: str, step: int) -> bool:
        assert name in self.files.content, "named before it is written"
        assert not self.kept or self.kept in self.files.content, "deleted before another is named"
        self.now_s += self.seconds_per_keep
        if not self.is_superseded:
            self.kept = name
        return not self.is_superseded


def test_one_is_taken_each_interval_and_the_last_is_kept() -> None:
    job = Job()
    for second in range(26):
        job.at(float(second), second)
    assert job.kept == "3/checkpoint-20.safetensors"
    assert list(job.files.content) == [job.kept]
    assert decode(job.files.content[job.kept])[1]["step"] == 20


def test_one_is_taken_whenever_the_training_stops() -> None:
    job = Job()
    job.at(0.5, 1, is_last=True)
    assert job.kept == "3/checkpoint-1.safetensors"


def test_none_is_taken_twice() -> None:
    job = Job()
    job.at(10.0, 7)
    del job.files.content[job.kept]
    job.at(30.0, 7, is_last=True)
    assert not job.files.content


def test_the_one_of_an_earlier_attempt_goes_when_there_is_a_new_one() -> None:
    job = Job(kept="2/checkpoint-5.safetensors")
    job.files.content[job.kept] = b"old"
    job.at(9.0, 6)
    assert job.kept == "2/checkpoint-5.safetensors"
    job.at(10.0, 7)
    assert list(job.files.content) == ["3/checkpoint-7.safetensors"]


def test_a_superseded_attempt_leaves_nothing() -> None:
    job = Job(kept="2/checkpoint-5.safetensors")
    job.files.content[job.kept] = b"old"
    job.is_superseded = True
    job.at(10.0, 7)
    assert list(job.files.content) == ["2/checkpoint-5.safetensors"]


def test_slow_ones_are_taken_less_often() -> None:
    job = Job()
    job.seconds_per_keep = 3.0
    job.at(10.0, 1)
    job.at(13.0 + 59.9, 2)
    assert job.kept == "3/checkpoint-1.safetensors"
    job.at(13.0 + 60.0, 3)
    assert job.kept == "3/checkpoint-3.safetensors"


def test_a_full_store_is_a_warning_and_the_next_is_tried() -> None:
    job = Job()
    job.at(10.0, 1)
    job.files.refusal = FailedPrecondition("the store is full: no space left")
    job.at(20.0, 2)
    assert job.logged == [
        (
            "warning",
            "no checkpoint at step 2; the last one is 3/checkpoint-1.safetensors: the store is "
            "full: no space left",
        )
    ]
    job.files.refusal = None
    job.at(25.0, 3)  # not at every step from now on
    assert list(job.files.content) == ["3/checkpoint-1.safetensors"]
    job.at(30.0, 4)
    assert list(job.files.content) == ["3/checkpoint-4.safetensors"]


def test_a_disk_that_fails_is_a_warning_too() -> None:
    """What nobody has a cure for, a storage raises as the system said it."""
    job = Job()
    job.at(10.0, 1)
    job.files.refusal = OSError(5, "Input/output error")
    job.at(20.0, 2)
    assert "no checkpoint at step 2" in job.logged[0][1]
    assert "Input/output error" in job.logged[0][1]
    job.files.refusal = None
    job.at(1000.0, 3)
    assert job.kept == "3/checkpoint-3.safetensors"


def test_the_state_comes_back() -> None:
    job = Job()
    job.at(10.0, 4)
    state = restore(job.files, job.kept, ORIGIN, job.log)
    assert state is not None
    assert state["step"] == 4
    assert not job.logged


@pytest.mark.parametrize("damage", ["missing", "truncated", "of another training"])
def test_a_checkpoint_of_no_use_is_a_warning(damage: str) -> None:
    job = Job()
    job.at(10.0, 4)
    here = ORIGIN
    if damage == "missing":
        job.files.content.clear()
    elif damage == "truncated":
        job.files.content[job.kept] = job.files.content[job.kept][:-1]
    else:
        here = Origin("mlp", {}, "d", 1, 1, "cpu", "2.13", 1, "AVX2")
    assert restore(job.files, job.kept, here, job.log) is None
    assert [level for level, _ in job.logged] == ["warning"]
    assert "starts again from the beginning: 3/checkpoint-4.safetensors: " in job.logged[0][1]


def test_other_circumstances_are_a_warning() -> None:
    job = Job()
    job.at(10.0, 4)
    here = Origin("mlp", {}, "d", 0, 1, "cpu", "2.13", 2, "AVX512")
    assert restore(job.files, job.kept, here, job.log) is not None
    assert job.logged == [
        (
            "warning",
            "the weights will not be bit by bit those of an undisturbed training: threads was 1 "
            "and is 2; cpu was AVX2 and is AVX512",
        )
    ]


def test_a_store_that_does_not_answer_is_no_reason_to_start_again() -> None:
    job = Job()
    job.files.refusal = Unavailable("the store does not answer")
    with pytest.raises(Unavailable):
        restore(job.files, "3/checkpoint-4.safetensors", ORIGIN, job.log)
