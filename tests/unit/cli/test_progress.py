from __future__ import annotations

import io

import pytest
from rich.console import Console

from wintergarden.cli.progress import JobProgress, sparkline
from wintergarden.client import (
    Event,
    JobState,
    LogWritten,
    MetricsReported,
    Progressed,
    StateChanged,
)

EVENTS: list[Event] = [
    StateChanged("1", 1, 1, 0, None, JobState.RUNNING, ""),
    Progressed("2", 1, 2, 10, None, "train", 0.25),
    MetricsReported("3", 1, 3, 10, None, {"validation_accuracy": 0.5, "train_loss": 1.5}),
    MetricsReported("4", 1, 4, 20, None, {"validation_accuracy": 0.9}),
    LogWritten("5", 1, 5, 20, None, "info", "stopping early [/] at 2"),
    StateChanged("6", 1, 6, 20, None, JobState.SUCCEEDED, ""),
]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_events_become_lines_a_bar_and_a_curve(is_terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100, highlight=False)
    with JobProgress("lenet5 on mnist-5k", console) as progress:
        for event in EVENTS:
            progress.show(event)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "running" in text
    assert "succeeded" in text
    assert "stopping early [/] at 2" in text
    assert "train_loss 1.5" in text
    shown = Console(file=io.StringIO(), width=100)
    shown.print(progress.render())
    bar = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "100%" in bar
    assert "validation_accuracy ▁█" in bar


def test_a_new_attempt_begins_its_curve_anew() -> None:
    console = Console(file=io.StringIO())
    progress = JobProgress("x", console)
    for attempt, accuracy in ((1, 0.1), (1, 0.9), (2, 0.2)):
        event = MetricsReported("c", attempt, 1, 1, None, {"validation_accuracy": accuracy})
        progress.show(event)
    shown = Console(file=io.StringIO())
    shown.print(progress.render())
    assert "▁█" not in shown.file.getvalue()  # type: ignore[attr-defined]


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == ""
    assert len(sparkline(range(100), width=40)) == 40
