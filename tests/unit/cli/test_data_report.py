"""The report of a data set as people read it."""

from __future__ import annotations

import pytest

from wintergarden.cli.data_report import tell_dataset
from wintergarden.cli.train import what
from wintergarden.client import DatasetDescription, Job
from wintergarden.wire import training_pb2 as pb

REPORT = {
    "classes": [
        {"label": f"class [{n}]", "train": 7, "validation": 1, "test": 2} for n in range(25)
    ],
    "imbalance": 1.0,
    "inputs": {"shape": [2], "dtype": "float32", "least": -1.5, "most": 3.25, "mean": 0.5},
    "missing": {"values": 3, "columns": {"x": 3}, "handling": "refused, which is the default"},
    "duplicates": {
        "train": 1, "validation": 2, "test": 3, "test_in_train": 4, "validation_in_train": 5,
        "contradictory": 0, "dropped": 0,
    },
    "parts": "as in the file",
    "columns": [
        {"name": "x", "kind": "number", "missing": 3, "is_constant": False, "least": 0.0,
         "most": 2.5, "mean": 1.0, "deviation": 0.5},
        {"name": "colour", "kind": "category", "missing": 0, "is_constant": False,
         "categories": {f"c{n}": n for n in range(9)}},
        {"name": "always", "kind": "number", "missing": 0, "is_constant": True},
    ],
    "warnings": ["always the same value in always"],
}  # fmt: skip


def described(**changes: object) -> DatasetDescription:
    fields = {
        "name": "flowers", "summary": "petals", "task": "tabular-classification",
        "input_shape": (2,), "class_labels": ("a", "b"),
        "split_sizes": {"train": 70, "validation": 10, "test": 20}, "source": "a garden",
        "digest": "d" * 64, "architectures": ("mlp",), "report": REPORT,
    }  # fmt: skip
    return DatasetDescription(**(fields | changes))  # type: ignore[arg-type]


def test_everything_found_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell_dataset(described())
    told = " ".join(capsys.readouterr().out.split())
    for text in (
        "flowers petals", "train 70 validation 10 test 20", "-1.5 to 3.25, mean 0.5 (float32)",
        "3; refused, which is the default", "6 within the parts, 4 of test", "class [0] 7 1 2",
        "… 5 more, see --json", "c0 (0), c1 (1)", "and 3 more", "always constant",
        "warning always the same value in always", "train it: wintergarden train mlp flowers",
    ):  # fmt: skip
        assert text in told, text


def test_a_set_of_the_trainers_has_no_report(capsys: pytest.CaptureFixture[str]) -> None:
    tell_dataset(described(report={}, digest="", architectures=()))
    told = capsys.readouterr().out
    assert "comes with the trainers" in told
    assert "none takes it" in told


def test_a_job_is_told_in_a_few_words() -> None:
    def told(**fields: object) -> str:
        return what(Job.from_message(pb.Job(state=pb.JOB_STATE_QUEUED, **fields)))

    training = pb.TrainingSpec(architecture="mlp", dataset=f"flowers@sha256:{'d' * 64}")
    assert told(kind="train", training=training) == "mlp on flowers"
    assert told(kind="prepare", spec_json='{"name": "flowers"}') == "preparing flowers"
    assert told(kind="search") == "search"
