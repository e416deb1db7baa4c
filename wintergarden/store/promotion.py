"""When a new version becomes `stable`: only if its metrics are good enough, and at most once.

    check_conditions(parse_conditions(["test_accuracy>=0.97", "export_parity<=1e-5"]), variants=())
    promote(store, manifest, is_first=True, hold=attempt.renew)

The rule of a version is in its manifest, so that whoever finds the version can finish what its
publisher began. Knows no jobs: whose turn it is, `hold` says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wintergarden.errors import InvalidArgument, Unavailable
from wintergarden.store.labels import Labels, StaleRevision, make_labels
from wintergarden.store.manifest import Manifest, Promotion
from wintergarden.store.model_store import ModelStore
from wintergarden.store.names import VARIANTS

STABLE = "stable"
_MAX_SWAPS = 100
"""Each that fails has seen somebody else succeed; so many in a row are a fault of the storage."""

# What a training measures, and of each variant, as `<this>_<precision>`. Values have r2, rmse and
# mae, classes accuracy, those of pixels mean_iou too, of tokens macro_f1; texts exact_match, a
# language bits_per_character. What another task has is not measured.
_MEASURED = frozenset(
    {
        "bytes", "epochs", "export_parity", "kept_epoch", "parameters", "test_ece",
        "train_seconds",
        *(f"{part}_{name}" for part in ("test", "validation")
          for name in ("accuracy", "bits_per_character", "exact_match", "loss", "macro_f1", "mae",
                       "mean_iou", "r2", "rmse")),
    }
)  # fmt: skip
_MEASURED_OF_VARIANTS = frozenset(
    {"bytes", "export_parity", "speedup", "test_accuracy", "test_mean_iou", "test_r2"}
)

_CONDITION = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(>=|<=)\s*(\S+)\s*")


@dataclass(frozen=True)
class Condition:
    """What a metric must be: `test_accuracy>=0.97`."""

    metric: str
    is_least: bool
    threshold: float

    def __str__(self) -> str:
        return f"{self.metric}{'>=' if self.is_least else '<='}{self.threshold:g}"

    def shortfall(self, metrics: Mapping[str, float]) -> str:
        """What was got and what is wanted; an empty string where it holds."""
        wanted = f"{'at least' if self.is_least else 'at most'} {self.threshold:g} is wanted"
        got = metrics.get(self.metric)
        if got is None:
            return f"{self.metric} was not measured, {wanted}"
        holds = got >= self.threshold if self.is_least else got <= self.threshold
        return "" if holds else f"{self.metric} is {got:.6g}, {wanted}"


@dataclass(frozen=True)
class Verdict:
    """What became of a promotion, and in words that a person can act on why."""

    is_stable: bool
    reason: str


def metrics_of(variants: Sequence[str]) -> list[str]:
    """The metrics that may have a condition, in alphabetical order.

    Args:
        variants: that are asked for beside the graph in fp32.
    """
    return sorted(_MEASURED | {f"{n}_{v}" for v in variants for n in _MEASURED_OF_VARIANTS})


def check_variants(variants: Sequence[str]) -> None:
    """Refuses variants that nobody can make.

    Raises:
        InvalidArgument: naming those there are.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise InvalidArgument(
                f"variant {variant!r:.80} is unknown; allowed are {', '.join(VARIANTS)}",
                field="variants",
            )


def parse_conditions(texts: Sequence[str]) -> list[Condition]:
    """Reads conditions.

    Raises:
        InvalidArgument: one is none.
    """
    return [_parse(text) for text in texts]


def check_conditions(conditions: Sequence[Condition], variants: Sequence[str]) -> None:
    """Refuses conditions that no version could be held to; better before a training than after.

    Args:
        conditions: for promotion.
        variants: that are asked for beside the graph in fp32.

    Raises:
        InvalidArgument: naming the metric, and those there are.
    """
    known = metrics_of(variants)
    for condition in conditions:
        name = condition.metric
        if name in known:
            continue
        others = [v for v in VARIANTS if name in metrics_of([v])]
        cure = f"; ask for variant {others[0]} to have it measured" if others else ""
        raise InvalidArgument(
            f"promote: no metric {name!r:.80} is measured{cure}; there are {', '.join(known)}",
            field="promote",
        )


def shortfalls(conditions: Sequence[Condition], metrics: Mapping[str, float]) -> list[str]:
    """Which conditions do not hold, each with what was got and what is wanted."""
    return [missed for c in conditions if (missed := c.shortfall(metrics))]


def plan_promotion(store: ModelStore, model: str, conditions: Sequence[str]) -> Promotion:
    """The rule for a version about to be published, with how the labels stand before it.

    Raises:
        InvalidArgument: a condition is none.
        DataLoss: the labels cannot be read.
    """
    labels = store.labels(model)
    return Promotion(
        conditions=tuple(str(condition) for condition in parse_conditions(conditions)),
        revision=labels.revision,
        stable=labels.labels.get(STABLE),
    )


def promote(
    store: ModelStore, manifest: Manifest, *, is_first: bool, hold: Callable[[], object]
) -> Verdict | None:
    """Makes a version `stable` if its rule says so; None where it has no rule.

    May be repeated: a version that is stable stays so, and what somebody else has done to the
    label since the version was published is left alone. Other labels keep whatever value they
    have at the moment of the swap.

    Args:
        store: where the version is.
        manifest: the version's.
        is_first: this process published the version and has not tried yet. Whoever is not the
            first cannot tell an earlier promotion that was taken back from one that never was,
            and leaves the label alone once any label has changed.
        hold: called between reading the labels and swapping them; raises where somebody else
            holds the job now. Whatever they do to the labels after that fails our swap.

    Raises:
        NotFound: the version has been deleted.
        FailedPrecondition: the storage is full.
        Unavailable: the storage does not answer, or lets no swap succeed.
    """
    rule = manifest.promotion
    if rule is None:
        return None
    name = f"version {manifest.version} of {manifest.model!r}"
    if missed := shortfalls(parse_conditions(rule.conditions), manifest.metrics):
        return Verdict(False, f"{name} is not made stable: {'; '.join(missed)}")
    for _ in range(_MAX_SWAPS):
        labels = store.labels(manifest.model)
        if labels.labels.get(STABLE) == manifest.version:
            return Verdict(True, f"{name} is stable")
        if why := _refusal(rule, labels, manifest.version, is_first=is_first):
            return Verdict(False, f"{name} is not made stable: {why}")
        hold()
        changed = labels.model_dump() | {"labels": {**labels.labels, STABLE: manifest.version}}
        try:
            store.set_labels(manifest.model, make_labels(**changed))
        except StaleRevision:
            continue
        return Verdict(True, f"{name} is stable")
    raise Unavailable(f"the labels of {manifest.model!r} change too fast to be written")


def _refusal(rule: Promotion, labels: Labels, version: int, *, is_first: bool) -> str:
    """Why the label is left to whom it was given; an empty string where it may be taken."""
    stable = labels.labels.get(STABLE)
    if stable is not None and stable > version:
        return f"version {stable} is, and it is newer"
    if labels.revision == rule.revision:
        return ""
    if stable != rule.stable:
        now = "no version is" if stable is None else f"version {stable} is"
        return f"somebody has moved the label since it was published: {now} stable now"
    if not is_first:
        return (
            "labels were changed since it was published, and whether it was stable in between "
            "is not known; set the label by hand"
        )
    return ""


def _parse(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    try:
        threshold = float(match[3]) if match else math.nan
    except ValueError:
        threshold = math.nan
    if match is None or not math.isfinite(threshold):
        raise InvalidArgument(
            f"promote: {text!r:.80} is no condition; allowed are <metric>>=<number> and "
            "<metric><=<number>, such as test_accuracy>=0.97",
            field="promote",
        )
    return Condition(match[1], match[2] == ">=", threshold)
