"""Pictures of a training and of what came of it, for the job's log and the model's card.

Through matplotlib's object interface alone: pyplot keeps global state.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.export.findings import Findings
from trainer.recipes.trained import Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_CLASSES_WRITTEN = 20
_DPI = 100


@dataclass(frozen=True)
class Chart:
    """A picture.

    Attributes:
        name: of its file.
        caption: one line.
        content: PNG.
    """

    name: str
    caption: str
    content: bytes


def draw(trained: Trained, found: Findings) -> list[Chart]:
    """All that there is to draw."""
    charts = [learning_curves(trained)] if trained.history else []
    if found.confusion is not None:
        charts.append(_confusion(trained, found))
    if found.calibration is not None:
        charts.append(_reliability(found))
    if found.values is not None:
        charts.append(_values(trained, found))
    return charts


def learning_curves(trained: Trained) -> Chart:
    """Losses, and the score on the validation part, by epoch."""
    history, score = trained.history, f"validation_{trained.task.score}"
    epochs = [row["epoch"] for row in history]

    def paint(axes: Iterator[Axes]) -> None:
        losses, scores = axes
        for name in ("train_loss", "validation_loss"):
            losses.plot(epochs, [row[name] for row in history], label=name.replace("_", " "))
        losses.set_ylabel("loss")
        losses.legend()
        scores.plot(epochs, [row[score] for row in history], color="C2")
        scores.set_ylabel(score.replace("_", " "))
        for each in (losses, scores):
            each.axvline(trained.kept_epoch, color="0.6", linestyle=":")
            each.set_xlabel("epoch")

    caption = f"learning curves; the dotted line is the epoch that was kept, {trained.kept_epoch}"
    return Chart("learning-curves.png", caption, png(paint, 2))


def _confusion(trained: Trained, found: Findings) -> Chart:
    labels = trained.dataset.info.class_labels
    counts = np.zeros((len(labels),) * 2) if found.confusion is None else found.confusion

    def paint(axes: Iterator[Axes]) -> None:
        (ax,) = axes
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ax.set_xlabel("taken for")
        ax.set_ylabel("is")
        if len(labels) > _MAX_CLASSES_WRITTEN:
            return
        places = range(len(labels))
        ax.set_xticks(places, labels, rotation=90)
        ax.set_yticks(places, labels)
        for row in places:
            for column in places:
                if counts[row, column]:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    text = f"{counts[row, column]}"
                    ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)

    what = "pixels" if trained.task.score == "mean_iou" else "examples"
    return Chart("confusion.png", f"confusion matrix: held-out {what}", png(paint, 1, 5.5))


def _reliability(found: Findings) -> Chart:
    calibration = found.calibration

    def paint(axes: Iterator[Axes]) -> None:
        (ax,) = axes
        if calibration is None:
            return
        ax.plot([0, 1], [0, 1], color="0.6", linestyle=":")
        ax.plot(calibration.confidence, calibration.accuracy, marker="o")
        ax.bar(calibration.confidence, calibration.share, width=0.02, color="0.8", label="examples")
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("probability of the class that was answered")
        ax.set_ylabel("share of right answers")
        ax.legend()

    error = calibration.error if calibration else 0.0
    caption = f"reliability: expected calibration error {error:.4f} on held-out examples"
    return Chart("reliability.png", caption, png(paint, 1))


def _values(trained: Trained, found: Findings) -> Chart:
    def paint(axes: Iterator[Axes]) -> None:
        (ax,) = axes
        true, answered = found.values or (np.zeros((0, 1)), np.zeros((0, 1)))
        for column in range(true.shape[1]):
            names = trained.dataset.info.class_labels
            label = names[column] if column < len(names) else str(column)
            ax.scatter(true[:, column], answered[:, column], s=8, label=label)
        if true.size:
            ax.plot([true.min(), true.max()], [true.min(), true.max()], color="0.6", linestyle=":")
            ax.legend()
        ax.set_xlabel("true value")
        ax.set_ylabel("answered")

    return Chart("values.png", "answers beside the true values, held-out examples", png(paint, 1))


def png(
    paint: Callable[[Iterator[Axes]], None], columns: int, height: float = 3.6, width: float = 4.8
) -> bytes:
    """What is painted into axes side by side, as a picture.

    Args:
        paint: told the axes, from left to right.
        columns: how many there are.
        height: of the picture, in inches.
        width: of each column, in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    paint(iter([figure.add_subplot(1, columns, number + 1) for number in range(columns)]))
    content = io.BytesIO()
    canvas.print_png(content, metadata={"Software": None})
    return content.getvalue()
