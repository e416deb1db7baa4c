from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from wintergarden.jobs import Attempt, Body, LogWritten, MetricsReported, Progressed
from wintergarden.worker.messages import Log, Metrics, Progress, parse
from wintergarden.worker.relay import Allowance, Relay


class Notebook:
    """Stands in for an attempt: keeps what is emitted."""

    def __init__(self) -> None:
        self.events: list[tuple[Body, int]] = []

    def emit(self, events: Sequence[tuple[Body, int]]) -> None:
        self.events += events

    def of(self, kind: type[Any]) -> list[Any]:
        return [body for body, _ in self.events if isinstance(body, kind)]


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def relay(notebook: Notebook) -> Relay:
    return Relay(cast(Attempt, notebook))


def test_an_allowance_is_a_burst_and_then_a_rate() -> None:
    allowance = Allowance(burst=3, per_s=2, now=0.0)
    assert [allowance.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(1.0) for _ in range(3)] == [True, True, False]
    assert [allowance.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_each_series_has_an_allowance_of_its_own(relay: Relay, notebook: Notebook) -> None:
    for step in range(2_000):
        relay.add(Metrics(type="metrics", step=step, values={"loss": 1.0}))
    relay.add(Metrics(type="metrics", step=2_000, values={"accuracy": 1.0}))
    relay.flush(is_last=True)
    assert len(notebook.of(MetricsReported)) == pytest.approx(501, abs=2)
    assert notebook.events[-1] == (MetricsReported({"accuracy": 1.0}), 2_000)


def test_progress_is_the_newest_and_each_phase_is_told(relay: Relay, notebook: Notebook) -> None:
    for phase, first in (("data", 0), ("train", 1)):
        for step in range(first, first + 1_000):
            relay.add(Progress(type="progress", phase=phase, fraction=step / 2_000, step=step))
    relay.flush(is_last=True)
    assert notebook.of(Progressed) == [
        Progressed("data", 0.0),
        Progressed("train", 1 / 2_000),
        Progressed("train", 1_000 / 2_000),
    ]


def test_a_flood_of_lines_is_held_back_and_said(
    relay: Relay, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    relay = Relay(cast(Attempt, notebook))
    for number in range(300):
        relay.add(Log(type="log", text=f"line {number}"))
    now += 1
    relay.add(Log(type="log", text="x" * 10_000))
    relay.flush(is_last=True)
    lines = [log.text for log in notebook.of(LogWritten)]
    assert lines[199:201] == ["line 199", "100 log lines were held back: they came too fast"]
    assert lines[201] == "x" * 4_000


@pytest.mark.parametrize(
    "line", [b"epoch 1", b"{}", b'{"type":"result"}', b'{"type":"progress","fraction":2}', b"\xff"]
)
def test_what_is_no_message_is_a_log_line(line: bytes) -> None:
    message = parse(line + b"\n")
    assert isinstance(message, Log)
    assert message.text == line.decode(errors="replace")
