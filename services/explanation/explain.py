"""Attributions of one request: what is asked, which method answers, what comes with the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.explanation.arrays import Array
from services.explanation.finite import check_finite
from services.explanation.heads import Head
from services.explanation.inputs import check_classes, check_context, check_rows
from services.explanation.parameters import Numbers
from services.explanation.regions import Region, choose, class_axis, shares_of
from services.explanation.subject import Subject
from wintergarden.errors import InvalidArgument, InvalidTensor
from wintergarden.store import Manifest

MAX_EVALUATIONS = 20_000_000
"""Model rows of one request; a bound for those who set no deadline."""


@dataclass(frozen=True, eq=False)
class ExplainQuery:
    """What a caller wants; empty values ask for the default.

    Attributes:
        rows: [N, …].
        input_name: As the caller calls the input.
        targets: Output indices, one per row or one for all; the predicted one if empty.
        output_name: Which output.
        players: "features", (rows, columns) of a grid, or a feature mask.
        background: [B, …].
        background_summary: "mean" or "sample".
        max_evaluations: Model rows per explained row.
        seed: Of what is drawn.
        parameters: Of the method, every one of them (`parameters.settle`).
        layer: An inner tensor, for methods that look at one.
        region: Where an output that has places is explained; see `regions`.
        context: Of a model with several inputs all but the explained one, [N, …] each.
        first_row: What the first of the rows is called in messages.
    """

    rows: Array
    input_name: str = ""
    targets: tuple[int, ...] = ()
    output_name: str = ""
    players: str | tuple[int, int] | Array = ""
    background: Array | None = None
    background_summary: str = ""
    max_evaluations: int = 0
    seed: int = 0
    parameters: Numbers = field(default_factory=dict)
    layer: str = ""
    region: Region = ""
    context: Mapping[str, Array] = field(default_factory=dict)
    first_row: int = 0


@dataclass(frozen=True, eq=False)
class Explanation:
    """The answer. Empty arrays where a method has no such number.

    Shape:
        rows, attributions: (N, …); attributions of a layer have its shape.
        player_values, standard_errors: (N, M).
        targets, outputs: (N,); base_values, efficiency_gaps: (N,) or empty.
        regions: (N, *places), bool: what the outputs are means over; None without places.
        assignment: (…), whose value an element of a row has, where all rows have the same players.
    """

    manifest: Manifest
    method: str
    head: Head
    rows: Array
    targets: Array
    outputs: Array
    attributions: Array
    player_values: Array
    standard_errors: Array
    base_values: Array
    efficiency_gaps: Array
    evaluations: int
    seed: int = 0
    is_exact: bool = False
    background: str = ""
    regions: Array | None = None
    assignment: Array | None = None


Attribution = Callable[[Subject, ExplainQuery, Head, Array, Array], Explanation]
"""Subject, query, head, the head's outputs [N, K] and the targets [N] to an explanation."""


def explain(method: Attribution, subject: Subject, query: ExplainQuery) -> Explanation:
    """Check the query against the model and let the method answer it.

    Raises:
        InvalidArgument: naming the field, what was got and what is allowed.
    """
    if query.context or len(subject.manifest.inputs) > 1:
        return _in_context(method, subject, query)
    return _explain(method, subject, query)


def _in_context(method: Attribution, subject: Subject, query: ExplainQuery) -> Explanation:
    """Row by row: whatever a method makes of a row, its context stays."""
    names = [tensor.name for tensor in subject.manifest.inputs]
    name = query.input_name or names[0]
    if name not in names:
        raise InvalidTensor(f"{subject.label} has the inputs {', '.join(names)}, got '{name}'")
    count = len(query.rows)
    context = check_context(subject, name, query.context, count)
    if len(query.targets) not in (0, 1, count):
        raise InvalidArgument(
            f"{len(query.targets)} targets for {count} rows; give one for each, or one for all",
            "targets",
        )
    parts = []
    for row in range(count):
        targets = query.targets if len(query.targets) < 2 else query.targets[row : row + 1]
        alone = replace(
            query,
            rows=query.rows[row : row + 1],
            input_name=name,
            targets=targets,
            context={},
            first_row=query.first_row + row,
        )
        there = subject.explaining(name, {n: a[row : row + 1] for n, a in context.items()})
        parts.append(_explain(method, there.among(count - row), alone))
    together = joined(parts, np.arange(count))
    regions = [part.regions for part in parts if part.regions is not None]
    return replace(together, rows=query.rows, regions=np.concatenate(regions) if regions else None)


def _explain(method: Attribution, subject: Subject, query: ExplainQuery) -> Explanation:
    rows = check_rows(subject, query.rows, query.input_name)
    head = subject.head(query.output_name)
    answers = subject.answers(rows, head)
    classes = answers.shape[class_axis(answers.ndim)]
    targets = check_classes(query.targets, len(rows), classes, "targets")
    if answers.ndim > 2:
        chosen = choose(answers, rows, query.region, targets)
        return _over_places(method, subject, query, head, chosen)
    if not isinstance(query.region, str) or query.region:
        raise InvalidArgument(
            f"output '{head.name}' of {subject.label} has no places to choose a region of", "region"
        )
    if targets is None:
        targets = answers.argmax(axis=1)
    numbers = query.first_row + np.arange(len(rows))
    check_finite(subject, head, _picked(answers, targets), numbers)
    return method(subject, query, head, answers, targets)


def _picked(outputs: Array, targets: Array) -> Array:
    """Of outputs [N, K] those of the targets, [N]."""
    picked: Array = np.take_along_axis(outputs, targets[:, None], axis=1)[:, 0]
    return picked


def _over_places(
    method: Attribution,
    subject: Subject,
    query: ExplainQuery,
    head: Head,
    chosen: tuple[Array, Array],
) -> Explanation:
    """Each region once, with all rows that are explained over it.

    `chosen` are the targets [N] and the masks [N, *places].
    """
    targets, masks = chosen
    rank = masks.ndim + 1
    _, group_of = np.unique(masks.reshape(len(masks), -1), axis=0, return_inverse=True)
    groups = [np.flatnonzero(group_of.ravel() == g) for g in range(group_of.max() + 1)]
    parts, left = [], len(query.rows)
    for group in groups:
        there, pooled = subject.over(head, rank, shares_of(masks[group[0]], rank))
        rows = query.rows[group]
        outputs = there.outputs(rows, pooled)
        values = _picked(outputs, targets[group])
        check_finite(subject, head, values, query.first_row + group)
        there = there.among(left / len(group))
        parts.append(method(there, replace(query, rows=rows), pooled, outputs, targets[group]))
        left -= len(group)
    order = np.argsort(np.concatenate(groups))
    return replace(joined(parts, order), head=head, rows=query.rows, regions=masks)


def joined(parts: Sequence[Explanation], order: Array) -> Explanation:
    """One answer of several; `order` brings their rows into that of the request."""

    def together(name: str) -> Array:
        arrays: list[Array] = [getattr(part, name) for part in parts]
        joined = np.concatenate(arrays)
        return joined[order] if len(joined) == len(order) else joined

    return replace(
        parts[0],
        targets=together("targets"),
        outputs=together("outputs"),
        attributions=together("attributions"),
        player_values=together("player_values"),
        standard_errors=together("standard_errors"),
        base_values=together("base_values"),
        efficiency_gaps=together("efficiency_gaps"),
        evaluations=sum(part.evaluations for part in parts),
        is_exact=all(part.is_exact for part in parts),
    )
