"""What the assignments of `wintergarden models label` come to."""

from __future__ import annotations

import pytest
import typer

from wintergarden.cli.labels import changed, told
from wintergarden.client import ModelLabels

NONE = ModelLabels(revision=2)
SPLIT = ModelLabels({"stable": 3, "canary": 4}, {"stable": 0.9, "canary": 0.1}, 5, 7)


@pytest.mark.parametrize(
    ("before", "assignments", "after"),
    [
        (NONE, ["stable=3"], ModelLabels({"stable": 3}, {}, 0, 2)),
        (
            NONE,
            ["stable=3", "canary=4:0.25", "shadow=5"],
            ModelLabels({"stable": 3, "canary": 4}, {"canary": 0.25, "stable": 0.75}, 5, 2),
        ),
        (SPLIT, ["stable=4"], ModelLabels({"stable": 4, "canary": 4}, dict(SPLIT.split), 5, 7)),
        (
            SPLIT,
            ["stable=4:1", "canary=", "shadow="],
            ModelLabels({"stable": 4}, {"stable": 1}, 0, 7),
        ),
        (SPLIT, ["canary="], ModelLabels({"stable": 3}, {"stable": 1}, 5, 7)),
        (SPLIT, ["stable=", "canary="], ModelLabels({}, {}, 5, 7)),
        (NONE, ["a=1:0.5", "b=2:0.5"], ModelLabels({"a": 1, "b": 2}, {"a": 0.5, "b": 0.5}, 0, 2)),
        (SPLIT, ["unknown="], SPLIT),
        (SPLIT, [], SPLIT),
    ],
)
def test_assignments(before: ModelLabels, assignments: list[str], after: ModelLabels) -> None:
    assert changed(before, assignments) == after


@pytest.mark.parametrize(
    ("assignments", "problem"),
    [
        (["stable"], "write LABEL=VERSION"),
        (["=3"], "write LABEL=VERSION"),
        (["stable=x"], "write LABEL=VERSION"),
        (["stable=0"], "write LABEL=VERSION"),
        (["stable=-1"], "write LABEL=VERSION"),
        (["stable=:0.5"], "write LABEL=VERSION"),
        (["stable=1:2"], "from 0 to 1"),
        (["stable=1:nan"], "from 0 to 1"),
        (["shadow=1:0.5"], "no share"),
        (["canary=4:0.1"], "sum to 0.1"),
        (["a=1", "b=2", "c=3:0.5"], "there is a, b"),
        (["a=1:0.6", "b=2:0.6"], "sum to 1.2"),
    ],
)
def test_what_makes_no_sense(assignments: list[str], problem: str) -> None:
    with pytest.raises(typer.BadParameter, match=problem):
        changed(NONE, assignments)


def test_labels_are_told_as_they_are_written() -> None:
    assert told(SPLIT) == "canary=4 (0.1), stable=3 (0.9), shadow=5"
    assert told(NONE) == "–"
