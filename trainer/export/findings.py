"""What is found out about a served graph beside its score: on the held-out part, by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trainer.data.dataset import Array
from trainer.export.parity import ROWS, run_onnx
from trainer.recipes.sequence_tasks import LanguageModelling, SequenceToSequence, Tagging
from trainer.recipes.task import LOGITS, PROBABILITIES
from trainer.recipes.tasks import VALUE, Classification, Filtering, Regression
from trainer.recipes.trained import Trained
from wintergarden.runtime import Session

BINS = 15
MAX_POINTS = 2_000


@dataclass(frozen=True)
class Calibration:
    """How sure answers are, and how often they are right; by how sure they are, in bins.

    Attributes:
        confidence: mean of each bin that has examples.
        accuracy: of each.
        share: of the examples.
    """

    confidence: Array
    accuracy: Array
    share: Array

    @property
    def error(self) -> float:
        """The expected calibration error; Guo et al. 2017, arXiv:1706.04599, eq. 3."""
        return float((self.share * np.abs(self.accuracy - self.confidence)).sum())


@dataclass(frozen=True)
class Findings:
    """Of a classifier the confusion, of a regression the answers; what does not apply is None.

    Attributes:
        confusion: (K, K), how many of each class (row) were taken for which (column).
        calibration: of a classifier of examples.
        values: (M, K) true values and (M, K) answers.
        metrics: named as in the manifest.
    """

    confusion: Array | None = None
    calibration: Calibration | None = None
    values: tuple[Array, Array] | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def findings(session: Session, trained: Trained) -> Findings:
    """Looks at the whole held-out part, some examples at a time."""
    split, task = trained.dataset.test, trained.task
    if isinstance(task, Filtering | SequenceToSequence | LanguageModelling):
        return Findings()
    classes = len(trained.dataset.info.class_labels)
    confusion = np.zeros((classes, classes), np.int64)
    confidences, rights, values = [], [], []
    for start in range(0, len(split), ROWS):
        rows = slice(start, start + ROWS)
        answers, labels = run_onnx(session, split.inputs[rows]), split.labels[rows]
        if isinstance(task, Regression):
            values.append(answers[VALUE])
            continue
        taken = answers[LOGITS].argmax(axis=-1 if isinstance(task, Tagging) else 1)
        there = labels >= 0  # not so at a text's padding
        np.add.at(confusion, (labels[there].astype(np.int64), taken[there]), 1)
        if isinstance(task, Classification):
            confidences.append(answers[PROBABILITIES].max(axis=1))
            rights.append(taken == labels)
    if isinstance(task, Regression):
        return Findings(values=(split.labels[:MAX_POINTS], np.concatenate(values)[:MAX_POINTS]))
    if not isinstance(task, Classification):
        return Findings(confusion)
    calibration = calibrate(np.concatenate(confidences), np.concatenate(rights))
    return Findings(confusion, calibration, metrics={"test_ece": calibration.error})


def calibrate(confidences: Array, rights: Array) -> Calibration:
    """Sorts answers into bins of equal width.

    Args:
        confidences: (N,), the largest probability of each answer.
        rights: (N,), whether it was right.
    """
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    there = counts > 0
    sure = np.bincount(bins, weights=confidences, minlength=BINS)[there] / counts[there]
    right = np.bincount(bins, weights=rights, minlength=BINS)[there] / counts[there]
    return Calibration(sure, right, counts[there] / len(confidences))
