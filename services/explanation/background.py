"""What "absent" means: the background rows of an explanation, and the words that say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array
from services.explanation.inputs import check_rows
from services.explanation.subject import Subject
from wintergarden.errors import FailedPrecondition, InvalidArgument, InvalidTensor

SUMMARIES = ("mean", "sample")
SAMPLE_ROWS = 20


@dataclass(frozen=True, eq=False)
class Background:
    """Rows [B, …] over which a coalition's value is averaged, and how they came about."""

    rows: Array
    description: str


def choose_background(
    subject: Subject, given: Array | None, summary: str, shape: tuple[int, ...]
) -> Background:
    """The caller's rows, else the artefact's training examples, else its held-out ones.

    An image mixed with other images is neither, and one model row per coalition and example is
    dear; so the default for images is the mean image as the one baseline. For tables it is the
    expectation over a sample, which is what SHAP means by absence.

    Args:
        subject: The model.
        given: [B, …] from the request, or None.
        summary: "mean", "sample" or "" for the default.
        shape: Of a row that is explained.

    Raises:
        InvalidArgument: an unknown summary, a mean of integers, or rows of another shape.
        FailedPrecondition: no rows are given and the artefact has none.
    """
    if summary not in ("", *SUMMARIES):
        raise InvalidArgument(
            f"background_summary='{summary}'; known are {', '.join(SUMMARIES)}",
            "background_summary",
        )
    if given is not None:
        rows, source = check_rows(subject, given, field="background"), "rows of the request"
        summary = summary or "sample"
    else:
        rows, source = _examples(subject)
        is_image = rows.ndim > 2 and rows.dtype.kind == "f"
        summary = summary or ("mean" if is_image else "sample")
        if summary == "sample" and len(rows) > SAMPLE_ROWS:
            chosen = np.linspace(0, len(rows) - 1, SAMPLE_ROWS).astype(int)
            source = f"of {len(rows)} {source}"
            rows = rows[chosen]
    if rows.shape[1:] != shape:
        raise InvalidTensor(
            f"background rows of shape {list(rows.shape[1:])} for rows of {list(shape)}; send some "
            "of the same",
            "background",
        )
    if summary == "sample":
        return Background(rows, f"expectation over {len(rows)} {source}")
    if rows.dtype.kind != "f":
        raise InvalidTensor(f"a mean of {rows.dtype} is no input; use sample", "background_summary")
    mean = rows.mean(axis=0, keepdims=True, dtype=np.float64).astype(rows.dtype)
    return Background(mean, f"mean of {len(rows)} {source} as one baseline")


def _examples(subject: Subject) -> tuple[Array, str]:
    """What there is of the explained input, and what it is called."""
    reference, name = subject.reference(), subject.input.name
    if name == subject.manifest.inputs[0].name:
        return reference.background, "training examples"
    if name not in reference.inputs:
        raise FailedPrecondition(
            f"{subject.label} came without examples of its input '{name}'; send the background"
        )
    return reference.inputs[name], "held-out examples"
