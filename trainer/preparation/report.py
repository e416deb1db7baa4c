"""What was found in a data set: plain JSON values, for people and for programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.dataset import Array
from trainer.preparation.examples import TEST, TRAIN, VALIDATION, Examples
from trainer.preparation.parts import fingerprints
from wintergarden.store.preparation import PreparationOptions

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_IMBALANCE = 10.0
"""From here on the accuracy of a model that always says the same class looks good."""
_FEW = 10


def write_report(
    examples: Examples,
    parts: Array,
    missing: dict[str, int],
    dropped: int,
    options: PreparationOptions,
) -> dict[str, Any]:
    """The report.

    Args:
        examples: as they were read, without the dropped; NaN still is where values are missing.
        parts: (N,) of each example.
        missing: values by column.
        dropped: duplicates that were left out.
        options: what was asked for.
    """
    classes: list[dict[str, Any]] = [
        {"label": label}
        | {
            part: int((examples.having(index) & (parts == number)).sum())
            for part, number in _PARTS.items()
        }
        for index, label in enumerate(examples.class_labels if examples.has_classes else ())
    ]
    counts = np.bincount(_counted(examples), minlength=len(classes))
    duplicates = _duplicates(examples, parts) | {"dropped": dropped}
    columns = _columns(examples)
    constant = [column["name"] for column in columns if column["is_constant"]]
    details = {name: value for name, value in examples.details.items() if name != "columns"}
    report: dict[str, Any] = {
        "task": examples.task,
        "examples": len(examples),
        "classes": classes,
        "imbalance": round(float(counts.max() / max(counts.min(), 1)), 3),
        "inputs": _inputs(examples),
        "missing": {
            "values": sum(missing.values()),
            "columns": missing,
            "handling": _handling(options),
        },
        "constant_columns": constant,
        "duplicates": duplicates,
        "parts": _told_parts(examples, options),
        **details,
    }
    if columns:
        report["columns"] = columns
    if examples.task == "regression":
        report["values"] = _values(examples)
    report["warnings"] = [
        *examples.warnings,
        *_warnings(report, counts, len(classes)),
    ]
    return report


def _counted(examples: Examples) -> Array:
    """What imbalance is told of: classes of examples, or of pixels; of values there are none."""
    return examples.labels.reshape(-1) if examples.has_classes else examples.strata


def _values(examples: Examples) -> list[dict[str, Any]]:
    """Of what a regression is to learn."""
    return [
        {
            "name": name,
            "least": _number(values.min()),
            "most": _number(values.max()),
            "mean": _number(values.mean(dtype=np.float64)),
            "deviation": _number(values.std(dtype=np.float64)),
        }
        for name, values in zip(examples.class_labels, examples.labels.T, strict=True)
    ]


def _inputs(examples: Examples) -> dict[str, Any]:
    inputs = examples.inputs
    if inputs.dtype == object:
        return {"shape": [], "dtype": "text"}
    return {
        "shape": list(inputs.shape[1:]),
        "dtype": "float32" if examples.feature_names else str(inputs.dtype),
        "least": _number(np.nanmin(inputs)),
        "most": _number(np.nanmax(inputs)),
        "mean": _number(np.nanmean(inputs, dtype=np.float64)),
    }


def _columns(examples: Examples) -> list[dict[str, Any]]:
    places = {name: place for place, name in enumerate(examples.feature_names)}
    columns = []
    for said in examples.details.get("columns", ()):
        column = {"missing": 0, "is_constant": False, **said}
        if said["kind"] != "category":
            values = examples.inputs[:, places[said["name"]]]
            known = values[~np.isnan(values)]
            column["missing"] = len(values) - len(known)
            if len(known):
                column |= {
                    "least": _number(known.min()),
                    "most": _number(known.max()),
                    "mean": _number(known.mean()),
                    "deviation": _number(known.std()),
                }
            column["is_constant"] = not len(known) or bool(known.min() == known.max())
        columns.append(column)
    return columns


def _duplicates(examples: Examples, parts: Array) -> dict[str, int]:
    """Equal inputs: within a part all but the first, between parts each that is in both.

    `contradictory` counts those that have different classes.
    """
    seen: dict[bytes, set[int]] = {}
    classes: dict[bytes, set[bytes]] = {}
    within = dict.fromkeys(_PARTS.values(), 0)
    counted: list[tuple[bytes, int]] = []
    for key, part, label in zip(
        fingerprints(examples.inputs),
        parts.tolist(),
        (
            label.encode() if isinstance(label, str) else label.tobytes()
            for label in examples.labels
        ),
        strict=True,
    ):
        within[part] += part in seen.setdefault(key, set())
        seen[key].add(part)
        classes.setdefault(key, set()).add(label)
        counted.append((key, part))
    return {
        **{part: within[number] for part, number in _PARTS.items()},
        "test_in_train": sum(part == TEST and TRAIN in seen[key] for key, part in counted),
        "validation_in_train": sum(
            part == VALIDATION and TRAIN in seen[key] for key, part in counted
        ),
        "contradictory": sum(len(classes[key]) > 1 for key, _ in counted),
    }


def _handling(options: PreparationOptions) -> str:
    if options.missing == "refuse":
        return "refused, which is the default"
    return "numbers became the training part's median, categories one of their own"


def _told_parts(examples: Examples, options: PreparationOptions) -> str:
    by = "stratified by class" if examples.is_stratified else "drawn"
    made = (
        f"{by} with seed {options.seed}: validation {options.validation:g}, test {options.test:g}"
    )
    if examples.parts is None:
        return made
    missing = [part for part in ("validation", "test") if _PARTS[part] not in examples.parts]
    if not missing:
        return "as in the file"
    return f"as in the file; {' and '.join(missing)} cut from its training part, {made}"


def _warnings(report: dict[str, Any], counts: Array, classes: int) -> list[str]:
    duplicates, warnings = report["duplicates"], []
    if duplicates["test_in_train"]:
        warnings.append(
            f"{duplicates['test_in_train']} examples of the test part are in the training part "
            "too, so that the test accuracy flatters; duplicates=drop leaves one of each"
        )
    if duplicates["contradictory"]:
        warnings.append(
            f"{duplicates['contradictory']} examples are equal and have different classes, values "
            "or targets"
        )
    if report["imbalance"] >= _IMBALANCE:
        share = counts.max() / counts.sum()
        of = "pixels" if report["task"] == "segmentation" else "examples"
        warnings.append(
            f"the largest class has {report['imbalance']:g} times the {of} of the smallest: "
            f"always saying it is right in {share:.0%} of all cases"
        )
    if report["constant_columns"]:
        names = report["constant_columns"]
        more = " …" if len(names) > _FEW else ""
        warnings.append(f"always the same value in {', '.join(names[:_FEW])}{more}")
    if report["missing"]["values"]:
        warnings.append(f"{report['missing']['values']} missing values were filled in")
    for part in ("validation", "test"):
        absent = [entry["label"] for entry in report["classes"] if not entry[part]]
        if absent:
            more = " …" if len(absent) > _FEW else ""
            warnings.append(f"the {part} part has no example of {', '.join(absent[:_FEW])}{more}")
    if report["examples"] < 10 * classes:
        warnings.append(f"{report['examples']} examples are few for {classes} classes")
    return warnings


def _number(value: Any) -> float:
    """Six digits: enough to read, and the same on every machine."""
    return float(f"{float(value):.6g}")
