"""A data set and its report as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from wintergarden.cli.output import people, table
from wintergarden.client.datasets import DatasetDescription

_SHOWN_CLASSES = 20
_SHOWN_COLUMNS = 40
_PARTS = ("train", "validation", "test")


def tell_dataset(dataset: DatasetDescription) -> None:
    """What it is, its classes, its columns, and what to look at before training."""
    report = dataset.report
    people.print(f"[bold]{escape(dataset.name)}[/]  {escape(dataset.summary)}")
    facts = table("", "")
    facts.show_header = False
    for name, value in _facts(dataset).items():
        facts.add_row(f"[dim]{name}[/]", escape(value))
    people.print(facts, "")
    if report.get("classes"):
        people.print(_classes(report["classes"]), "")
    if report.get("columns"):
        people.print(_columns(report["columns"]), "")
    for warning in report.get("warnings", ()):
        people.print(f"[yellow]warning[/] {escape(warning)}", soft_wrap=True)
    if dataset.architectures:
        first, *others = dataset.architectures
        more = f" (or {', '.join(others)})" if others else ""
        people.print(f"train it: [bold]wintergarden train {first} {escape(dataset.name)}[/]{more}")


def _facts(dataset: DatasetDescription) -> dict[str, str]:
    report = dataset.report
    sizes = "  ".join(f"{part} {dataset.split_sizes.get(part, 0)}" for part in _PARTS)
    facts = {
        "digest": f"sha256 {dataset.digest}" if dataset.digest else "comes with the trainers",
        "task": dataset.task,
        "shape": " × ".join(str(size) for size in dataset.input_shape) or "text",
        "units": dataset.units or "–",
        "examples": sizes,
        "source": dataset.source,
        "architectures": ", ".join(dataset.architectures) or "none takes it",
    }
    if not report:
        return facts | {"classes": ", ".join(dataset.class_labels)}
    inputs, missing, duplicates = report["inputs"], report["missing"], report["duplicates"]
    if "least" in inputs:
        facts["values"] = (
            f"{inputs['least']:g} to {inputs['most']:g}, mean {inputs['mean']:g} "
            f"({inputs['dtype']})"
        )
    facts |= {
        "parts": report["parts"],
        "missing values": f"{missing['values']}; {missing['handling']}",
        "duplicates": (
            f"{sum(duplicates[part] for part in _PARTS)} within the parts, "
            f"{duplicates['test_in_train']} of test and {duplicates['validation_in_train']} of "
            f"validation also in train, {duplicates['dropped']} dropped"
        ),
    }
    if "values" in report:
        facts["learns"] = "; ".join(
            f"{value['name']}: {value['least']:g} to {value['most']:g}, mean {value['mean']:g}"
            for value in report["values"]
        )
    else:
        facts["imbalance"] = f"{report['imbalance']:g} (largest to smallest class)"
    if sizes_found := report.get("sizes"):
        facts["sizes found"] = ", ".join(f"{size} ({n})" for size, n in sizes_found.items())
    return facts


def _classes(classes: Sequence[Mapping[str, Any]]) -> Any:
    listed = table("class", *(f"{part} ›" for part in _PARTS))
    for entry in classes[:_SHOWN_CLASSES]:
        listed.add_row(escape(entry["label"]), *(str(entry[part]) for part in _PARTS))
    if len(classes) > _SHOWN_CLASSES:
        listed.add_row(f"… {len(classes) - _SHOWN_CLASSES} more, see --json")
    return listed


def _columns(columns: Sequence[Mapping[str, Any]]) -> Any:
    listed = table("column", "kind", "missing ›", "least ›", "most ›", "mean ›", "values")
    for column in columns[:_SHOWN_COLUMNS]:
        categories = column.get("categories", {})
        shown = ", ".join(f"{name} ({count})" for name, count in list(categories.items())[:6])
        more = f" and {len(categories) - 6} more" if len(categories) > 6 else ""
        listed.add_row(
            escape(column["name"]),
            "constant" if column["is_constant"] else column["kind"],
            str(column["missing"]),
            *(f"{column[key]:.4g}" if key in column else "" for key in ("least", "most", "mean")),
            escape(shown + more),
        )
    if len(columns) > _SHOWN_COLUMNS:
        listed.add_row(f"… {len(columns) - _SHOWN_COLUMNS} more, see --json")
    return listed
