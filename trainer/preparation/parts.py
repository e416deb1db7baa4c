"""Train, validation and test: each with the classes' proportions, and always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from trainer.data.dataset import Array
from trainer.preparation.examples import TEST, TRAIN, VALIDATION, Examples
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

_NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
# Of equal examples the one stays that may be looked at least.
_STAYS_FIRST = (TEST, VALIDATION, TRAIN)


def assign(examples: Examples, options: PreparationOptions) -> Array:
    """The part (N,) of each example, int8.

    Parts that the file names stay as they are; those it does not name are cut from its training
    part. The permutation is numpy's RandomState, whose stream is frozen (NEP 19).

    Raises:
        InvalidArgument: a class has too few examples for a part.
    """
    labels, names = examples.strata, examples.stratum_names
    missing: tuple[int, ...] = (TEST, VALIDATION)
    if examples.parts is None:
        parts = np.full(len(labels), TRAIN, np.int8)
    else:
        parts = examples.parts.copy()
        missing = tuple(part for part in missing if part not in parts)
    pool = np.flatnonzero(parts == TRAIN)
    counts = np.bincount(labels[pool], minlength=len(names))
    _check_enough(counts, examples, len(missing))
    shares = {TEST: options.test, VALIDATION: options.validation}
    quotas = {part: _quotas(counts, shares[part]) for part in missing}
    random = np.random.RandomState(options.seed)
    for index in range(len(names)):
        members = random.permutation(pool[labels[pool] == index])
        for part in missing:
            taken, members = np.split(members, [quotas[part][index]])
            parts[taken] = part
        if not len(members):
            raise InvalidArgument(
                f"class {names[index]!r:.80} has {counts[index]} examples, and "
                f"{sum(int(quotas[part][index]) for part in missing)} of them go to other parts: "
                "none is left to train on; lower validation or test, or add examples"
            )
    return parts


def members(parts: Array, seed: int) -> dict[int, Array]:
    """The examples of each part, in an order of chance that is always the same.

    Files come sorted by class, and what is calibrated or explained by the first so many examples
    of a part must have met all of its classes.
    """
    random = np.random.RandomState(seed)
    return {part: random.permutation(np.flatnonzero(parts == part)) for part in _NAMES}


def without_duplicates(examples: Examples) -> Examples:
    """One of each set of equal inputs; which one, so that training sees nothing of the test."""
    parts = examples.parts
    order = np.arange(len(examples))
    if parts is not None:
        order = np.concatenate([np.flatnonzero(parts == part) for part in _STAYS_FIRST])
    seen: set[bytes] = set()
    kept = []
    keys = fingerprints(examples.inputs)
    for index in order.tolist():
        if keys[index] not in seen:
            seen.add(keys[index])
            kept.append(index)
    return examples.take(np.array(sorted(kept), np.int64))


def fingerprints(inputs: Array) -> Sequence[bytes]:
    """A digest for each example; equal examples have equal ones."""
    if inputs.dtype == object:
        contents = (text.encode() for text in inputs.tolist())
        return [hashlib.blake2b(content, digest_size=16).digest() for content in contents]
    rows = np.ascontiguousarray(inputs).reshape(len(inputs), -1)
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def _check_enough(counts: Array, examples: Examples, others: int) -> None:
    few = [index for index, count in enumerate(counts) if count < 1 + others]
    if few and not examples.is_stratified:
        raise InvalidArgument(f"{counts[0]} examples are too few; {1 + others} are needed at least")
    class_labels = examples.class_labels
    if few:
        told = ", ".join(f"{class_labels[index]!r:.60} has {counts[index]}" for index in few[:10])
        more = f" and {len(few) - 10} more" if len(few) > 10 else ""
        raise InvalidArgument(
            f"every class needs at least {1 + others} examples, one for each part that is made of "
            f"them: {told}{more}; add examples, or leave the class out"
        )


def _quotas(counts: Array, share: float) -> Array:
    """How many of each class: at least one, in proportion, and `share` of all in sum.

    The largest remainders get what rounding down leaves.
    """
    exact = counts * share
    quotas = np.maximum(np.floor(exact), 1).astype(np.int64)
    left = round(float(exact.sum())) - int(quotas.sum())
    if left > 0:
        by_remainder = np.argsort(quotas - exact, kind="stable")
        quotas[by_remainder[:left]] += 1
    return quotas
