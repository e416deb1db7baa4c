"""A job's events as a person sees them: a bar, the newest metrics and a curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wintergarden.client import (
    CheckpointKept,
    Event,
    JobState,
    LogWritten,
    MetricsReported,
    PictureShown,
    Progressed,
    StateChanged,
)

_BARS = "▁▂▃▄▅▆▇█"
_COLOURS = {
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.QUEUED: "blue",
    JobState.PAUSED: "magenta",
}
_FIRST = (
    "epoch",
    "test_accuracy",
    "test_mean_iou",
    "test_r2",
    "export_parity",
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "validation_mean_iou",
    "validation_r2",
)
# What the curve shows, the first that the job reports.
_CURVES = (
    "validation_accuracy",
    "validation_mean_iou",
    "validation_r2",
    "validation_loss",
    "train_loss",
)


def coloured(state: JobState) -> str:
    return f"[{_COLOURS.get(state, 'white')}]{state}[/]"


def sparkline(values: Iterable[float], width: int = 40) -> str:
    """The last `width` values as bars between their smallest and largest."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in shown)


def metrics_line(values: Mapping[str, float]) -> str:
    """All of them, those that people look for first."""
    told = [name for name in _FIRST if name in values]
    told += sorted(values.keys() - set(told))
    return "  ".join(f"{name} {_number(values[name])}" for name in told)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:.4g}"


class JobProgress:
    """Shows events while they come: live on a terminal, a line each elsewhere.

    A new attempt begins its curves anew.
    """

    def __init__(self, title: str, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]left[/]"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
        )
        self._task = self._bar.add_task(escape(title), total=1.0)
        self._title = escape(title)
        self._attempt = 0
        self._newest: dict[str, float] = {}
        self._curve_name = ""
        self._curve: list[float] = []
        self._live = Live(self.render(), console=console, transient=False, refresh_per_second=8)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.update(self.render())
            self._live.stop()

    def show(self, event: Event) -> None:
        if event.attempt > self._attempt:
            self._attempt, self._curve, self._newest = event.attempt, [], {}
        match event:
            case Progressed(phase=phase, fraction=fraction):
                description = f"{self._title} · {escape(phase)}" if phase else self._title
                self._bar.update(self._task, completed=fraction, description=description)
            case MetricsReported(values=values):
                self._newest |= values
                self._extend_curve(values)
                self._tell(f"step {event.step}  {metrics_line(values)}", live=False)
            case StateChanged(state=state, reason=reason):
                if state is JobState.SUCCEEDED:
                    self._bar.update(self._task, completed=1.0)
                self._tell(f"{coloured(state)}  {escape(reason)}".rstrip(), live=True)
            case LogWritten(level=level, text=text):
                style = "yellow" if level == "warning" else "dim"
                self._tell(f"[{style}]{escape(text)}[/]", live=True)
            case CheckpointKept(step=step):
                self._tell(f"[dim]checkpoint at step {step}[/]", live=False)
            case PictureShown(name=name, caption=caption):
                self._tell(f"[dim]{escape(caption)}: {escape(name)}[/]", live=True)
        if self._console.is_terminal:
            self._live.update(self.render())

    def render(self) -> RenderableType:
        parts: list[RenderableType] = [self._bar]
        if self._newest:
            parts.append(Text("  " + metrics_line(self._newest), style="dim"))
        if len(self._curve) > 1:
            parts.append(Text(f"  {self._curve_name} {sparkline(self._curve)}", style="green"))
        return Group(*parts)

    def _extend_curve(self, values: Iterable[str]) -> None:
        if not self._curve_name:
            self._curve_name = next((name for name in _CURVES if name in self._newest), "")
        if self._curve_name and self._curve_name in values:
            self._curve.append(self._newest[self._curve_name])

    def _tell(self, line: str, *, live: bool) -> None:
        """`live`: also above the bar of a terminal, which shows everything else by itself."""
        if live or not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)
