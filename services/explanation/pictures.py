"""Which pictures an answer comes with, and what is written on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

import numpy as np

from services.explanation.analysis import Analysis
from services.explanation.arrays import Array, channels_first
from services.explanation.attack import Adversarial, Robustness
from services.explanation.explain import Explanation
from services.explanation.render.bars import bars
from services.explanation.render.bubbles import Bubble, bubbles
from services.explanation.render.curve import curves
from services.explanation.render.heat_map import heat_map
from services.explanation.render.lengths import Growth, growths
from services.explanation.render.panda import Verdict, panda
from services.explanation.render.style import Caption, is_image
from services.explanation.render.text import text_map
from wintergarden.errors import InvalidArgument
from wintergarden.store import Manifest
from wintergarden.text import PADDING, Vocabulary

MAX_PICTURES = 16
_GRADIENTS = frozenset({"saliency", "smooth_grad", "guided_backprop", "deconvnet"})
_WRITING = frozenset({"language-modelling", "sequence-to-sequence", "captioning"})
"""Tasks whose classes are tokens."""

_SIZES = {
    "linf": "largest change of any element (L∞)",
    "l2": "length of the change (L2)",
    "l0": "tokens that are flipped at most (L0)",
}
_SYMBOLS = {"linf": "(L∞)", "l2": "(L2)", "l0": "(L0)"}
_DIGEST_SHOWN = 12
_LABEL_SHOWN = 32


@dataclass(frozen=True)
class Picture:
    """A PNG, or of a text an SVG, under a file name."""

    name: str
    content: bytes

    @property
    def suffix(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def media_type(self) -> str:
        return "image/svg+xml" if self.suffix == "svg" else "image/png"


def check_finite(
    answer: Explanation | Adversarial, arrays: Mapping[str, Array], start: int = 0
) -> None:
    """Neither a scale nor a summary can be made of NaN or infinity.

    Args:
        answer: What the arrays are of.
        arrays: With one entry for each row, or empty.
        start: What the first row is called.

    Raises:
        InvalidArgument: which numbers of which row, for which output of which model.
    """
    for name, values in arrays.items():
        is_fine = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        for row in np.flatnonzero(~is_fine)[:1]:
            found = np.ravel(values[row])
            raise InvalidArgument(
                f"{name.replace('_', ' ')} of row {start + row} hold "
                f"{found[~np.isfinite(found)][0]} for output '{answer.head.name}' of model "
                f"'{answer.manifest.model}' version {answer.manifest.version}; explained and "
                "attacked are outputs that are finite",
                "input",
            )


def explanation_pictures(answer: Explanation) -> list[Picture]:
    """A heat map for each image, coloured words for each text, bars for each row of a table.

    Raises:
        InvalidArgument: there is a number that is not finite.
    """
    names = ("outputs", "attributions", "player_values", "standard_errors")
    check_finite(answer, {name: getattr(answer, name) for name in names})
    vocabulary = _vocabulary(answer)
    stem, rows = answer.method.replace("_", "-"), range(min(len(answer.rows), MAX_PICTURES))
    if vocabulary is None:
        return [Picture(f"{stem}-{row}.png", _explanation_picture(answer, row)) for row in rows]
    return [Picture(f"{stem}-{row}.svg", _text_picture(answer, row, vocabulary)) for row in rows]


def adversarial_pictures(answer: Adversarial) -> list[Picture]:
    """Three panels for each image, each text with what was flipped; tables have none."""
    if fields := answer.manifest.vocabulary if answer.rows.ndim == 2 else None:
        vocabulary = Vocabulary.from_fields(fields.model_dump())
        return [
            Picture(f"{answer.method}-{row}.svg", _flipped_text(answer, row, vocabulary))
            for row in range(min(len(answer.rows), MAX_PICTURES))
        ]
    if not len(answer.rows) or not is_image(channels_first(answer.rows[0]).shape):
        return []
    return [
        Picture(f"{answer.method}-{row}.png", _adversarial_picture(answer, row))
        for row in range(min(len(answer.rows), MAX_PICTURES))
    ]


def robustness_pictures(answer: Robustness, beside: Robustness | None = None) -> list[Picture]:
    """The curve, or two."""
    caption = Caption(
        title=f"Accuracy under {answer.method.upper()}",
        subtitle=f"{_name(answer.manifest)}, {answer.examples} held-out examples",
        legend=f"ε: {_SIZES[answer.balls[0].norm]}, in units of {answer.balls[0].box.units}",
        notes=(_digest(answer.manifest),),
    )
    radii = [ball.epsilon for ball in answer.balls]
    lines = {_name(curve.manifest): curve.accuracies for curve in (answer, beside) if curve}
    return [Picture(f"robustness-{answer.method}.png", curves(radii, lines, caption))]


def analysis_pictures(models: Sequence[Analysis]) -> list[Picture]:
    """One chart of all; and of those that were analysed at several lengths another."""
    first: dict[tuple[str, int], list[Analysis]] = {}
    for analysis in models:
        key = (analysis.manifest.model, analysis.manifest.version)
        first.setdefault(key, []).append(analysis)
    caption = Caption(
        title="What models cost, and what they are worth",
        subtitle=f"{len(first)} models; a bubble's area is its parameters",
        notes=(
            "operations: arithmetic for one row; a multiplication with its addition is two",
            "after Canziani, Paszke, Culurciello, 2016, arXiv:1605.07678",
        ),
    )
    shown = [
        Bubble(
            name=_shown(m.manifest.model),
            operations=m.cost.operations,
            parameters=m.cost.parameters,
            quality=m.quality if m.quality_metric else None,
            rows_per_s=m.measured.rows_per_s or None,
        )
        for m, *_ in first.values()
    ]
    pictures = [Picture("analysis.png", bubbles(shown, caption))]
    if swept := [each for each in first.values() if len({a.length for a in each}) > 1]:
        pictures.append(_lengths_picture(swept))
    return pictures


def _lengths_picture(models: Sequence[Sequence[Analysis]]) -> Picture:
    caption = Caption(
        title="What a longer sequence costs",
        subtitle=f"{len(models)} models, one row at each length",
        notes=("operations: arithmetic; milliseconds: of requests, as the service measured them",),
    )
    shown = []
    for analyses in models:
        each = sorted(analyses, key=lambda a: a.length)
        shown.append(
            Growth(
                name=_shown(each[0].manifest.model),
                lengths=[a.length for a in each],
                operations=[a.cost.operations for a in each],
                latencies_ms=[a.measured.latency_ms or None for a in each],
            )
        )
    return Picture("lengths.png", growths(shown, caption))


def _shown(text: str) -> str:
    return shorten(text, _LABEL_SHOWN, placeholder="…") or text[:_LABEL_SHOWN]


def _vocabulary(answer: Explanation) -> Vocabulary | None:
    """Of token ids [N, T]; None where the rows are none."""
    fields, rows = answer.manifest.vocabulary, answer.rows
    if fields is None or rows.ndim != 2 or answer.attributions.shape != rows.shape:
        return None
    return Vocabulary.from_fields(fields.model_dump())


def _text_picture(answer: Explanation, row: int, vocabulary: Vocabulary) -> bytes:
    ids = answer.rows[row]
    length = max(1, int(np.flatnonzero(ids != PADDING).max(initial=0)) + 1)
    region = None if answer.regions is None else answer.regions[row]
    is_own = len(answer.manifest.inputs) == 1 and region is not None and region.shape == ids.shape
    marked = region[:length].tolist() if region is not None and is_own else ()
    return text_map(
        vocabulary.decode(ids[:length].tolist()),
        answer.attributions[row, :length],
        _caption(answer, row),
        is_spaced=vocabulary.is_spaced,
        marked=marked,
    )


def _caption(answer: Explanation, row: int) -> Caption:
    label = class_label(answer.manifest, int(answer.targets[row]))
    is_class = answer.manifest.task != "regression"
    what = f"{answer.head.space} of “{label}”" if is_class else "predicted value"
    where = ""
    if answer.regions is not None:
        region = answer.regions[row]
        where = f", mean over {int(region.sum())} of {region.size} places"
    quantity = "gradient of" if answer.method in _GRADIENTS else "contribution to"
    return Caption(
        title=f"What speaks for “{label}”?" if is_class else "What makes this value?",
        subtitle=f"{_name(answer.manifest)}: {what}{where} = {_number(answer.outputs[row])}",
        legend=f"{quantity} the {what}",
        notes=(*_sums(answer, row), _digest(answer.manifest)),
    )


def _explanation_picture(answer: Explanation, row: int) -> bytes:
    caption = _caption(answer, row)
    has_players = bool(answer.player_values.size)
    image = channels_first(answer.rows[row])
    if is_image(image.shape) and answer.attributions.shape == answer.rows.shape:
        attribution = _over_channels(answer, row, image.shape[-2:])
        value_range = _range(answer.manifest, answer.rows[row])
        region = None if answer.regions is None else answer.regions[row]
        if region is not None and region.ndim != 2:
            region = None
        return heat_map(image, attribution, value_range, caption, region)
    values = answer.player_values[row] if has_players else answer.attributions[row].reshape(-1)
    names = [f"player {i}" for i in range(len(values))]
    if len(values) == answer.rows[row].size:
        names = [f"feature {i} = {x:.4g}" for i, x in enumerate(answer.rows[row].reshape(-1))]
    return bars(names, values, answer.standard_errors[row], caption)


def _over_channels(answer: Explanation, row: int, shape: tuple[int, ...]) -> Array:
    """[H, W]: the sum over channels, in which a player that spans several counts once."""
    planes = channels_first(answer.attributions[row]).reshape(-1, *shape)
    if answer.assignment is not None:
        players = channels_first(answer.assignment).reshape(-1, *shape)
        order = np.argsort(players, axis=0)
        players, planes = (np.take_along_axis(each, order, axis=0) for each in (players, planes))
        planes[1:][players[1:] == players[:-1]] = 0
    total: Array = planes.sum(axis=0)
    return total


def _sums(answer: Explanation, row: int) -> list[str]:
    """The equation of additive attributions with its numbers."""
    if not answer.base_values.size:
        note = "where a small change would move the output; not what the output is made of"
        return [note] if answer.method in _GRADIENTS else []
    has_players = bool(answer.player_values.size)
    total = (answer.player_values if has_players else answer.attributions)[row].sum()
    gap, how = abs(answer.efficiency_gaps[row]), "every coalition"
    if not has_players:
        how = "forwards or backwards"
    elif not answer.is_exact:
        error = answer.standard_errors[row].max()
        how = f"drawn with seed {answer.seed}, standard errors up to {error:.2g}"
    return [
        f"f(x) = φ₀ + Σφ: {_number(answer.outputs[row])} = "
        f"{_number(answer.base_values[row])} {'−' if total < 0 else '+'} {_number(abs(total))}, "
        f"efficiency gap {gap:.1e}",
        f"φ₀: {answer.background}",
        f"{answer.evaluations} model rows for {len(answer.rows)} explained, {how}",
    ]


def _flipped_text(answer: Adversarial, row: int, vocabulary: Vocabulary) -> bytes:
    """The text as it was flipped; a token that is another has the one it was behind it."""
    before, after = answer.rows[row], answer.adversarial[row]
    length = max(1, int(np.flatnonzero(before != PADDING).max(initial=0)) + 1)
    flipped = (before != after)[:length]
    old = vocabulary.decode(before[:length].tolist())
    new = vocabulary.decode(after[:length].tolist())
    seen, now = int(answer.predictions_before[row]), int(answer.predictions_after[row])
    was_sure, is_sure = answer.confidences_before[row], answer.confidences_after[row]
    changes = [
        f"“{o}” → “{n}”" for o, n, is_other in zip(old, new, flipped, strict=True) if is_other
    ]
    return text_map(
        new,
        flipped.astype(np.float64),
        Caption(
            title=f"{answer.method.upper()}: {int(flipped.sum())} of {length} tokens flipped",
            subtitle=f"{_name(answer.manifest)}: “{class_label(answer.manifest, seen)}” "
            f"{was_sure:.1%} → “{class_label(answer.manifest, now)}” {is_sure:.1%}",
            legend="tokens that are others",
            notes=(shorten(", ".join(changes), 100, placeholder=" …"), _digest(answer.manifest)),
        ),
        is_spaced=vocabulary.is_spaced,
        marked=flipped.tolist(),
    )


def _adversarial_picture(answer: Adversarial, row: int) -> bytes:
    manifest, ball = answer.manifest, answer.ball
    wanted = int(answer.labels[row])

    def verdict(predictions: Array, confidences: Array) -> Verdict:
        seen = int(predictions[row])
        return Verdict(class_label(manifest, seen), float(confidences[row]), seen == wanted)

    aim = ""
    if answer.targets is not None:
        aim = f", aimed at “{class_label(manifest, int(answer.targets[row]))}”"
    largest, length = answer.distances_linf[row], answer.distances_l2[row]
    bound = f"ε = {ball.epsilon:g} {_SYMBOLS[ball.norm]}" if ball.epsilon else "the smallest found"
    return panda(
        channels_first(answer.rows[row]),
        channels_first(answer.adversarial[row]),
        _range(manifest, answer.rows[row]),
        epsilon=bound,
        before=verdict(answer.predictions_before, answer.confidences_before),
        after=verdict(answer.predictions_after, answer.confidences_after),
        caption=Caption(
            title=f"{answer.method.upper()}{aim}",
            subtitle=_name(manifest),
            legend=_step(answer),
            notes=(
                f"largest change {largest:.6g} (L∞), length {length:.6g} (L2), in units of "
                f"{ball.box.units}; clipped to the valid range "
                f"[{ball.box.low:g}, {ball.box.high:g}]",
                _digest(manifest),
            ),
        ),
    )


def _step(answer: Adversarial) -> str:
    """What was added, in few words."""
    if answer.method != "fgsm":
        return f"change found in {int(answer.queries.mean())} runs a row, clipped"
    if answer.targets is not None:
        return "−ε · sign ∇ₓJ(θ, x, t), clipped"
    return "ε · sign ∇ₓJ(θ, x, y), clipped"


def class_label(manifest: Manifest, index: int) -> str:
    """What the class or the token is called, in few words, or its number."""
    labels, tokens = manifest.class_labels, manifest.target_vocabulary or manifest.vocabulary
    text = labels[index] if index < len(labels) else ""
    if manifest.task in _WRITING and tokens is not None:
        vocabulary = Vocabulary.from_fields(tokens.model_dump())
        text = vocabulary.decode([index])[0] if index < vocabulary.size else ""
    return shorten(text, _LABEL_SHOWN, placeholder="…") or str(index)


def _range(manifest: Manifest, row: Array) -> tuple[float, float]:
    told = manifest.inputs[0].value_range
    if told is not None:
        return told
    low, high = float(np.min(row)), float(np.max(row))
    return (low, high) if low < high else (low, low + 1.0)


def _name(manifest: Manifest) -> str:
    return f"{manifest.model} version {manifest.version}"


def _number(value: float) -> str:
    """Three decimals and a real minus."""
    return f"{value:.3f}".replace("-", "−")


def _digest(manifest: Manifest) -> str:
    return f"model.onnx sha256 {manifest.digest[:_DIGEST_SHOWN]}…"
