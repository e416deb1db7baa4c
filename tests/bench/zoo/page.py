"""The tables of docs/zoo.md, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rows import ROWS, Row

BEGIN, END = "<!-- made by make zoo-report -->", "<!-- end -->"
SCORES = ("test_accuracy", "test_mean_iou", "test_r2")


def write_page(page: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts the tables between the page's marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{tables(results)}\n{END}{after}")


def tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What was measured of each row, and what explained it."""
    lines = [
        "| row | data | hyperparameters | bar | measured | parameters | training | parity "
        "| batch of 1, of 32 | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row, results.get(row.name)) for row in ROWS),
        "",
        "| row | explained by (seconds for one example) | not by |",
        "|---|---|---|",
        *(
            _explained_line(row.name, results[row.name]["explained"])
            for row in ROWS
            if results.get(row.name, {}).get("explained")
        ),
    ]
    return "\n".join(lines)


def _line(row: Row, result: Mapping[str, Any] | None) -> str:
    settings = ", ".join(f"{name}={_shown(value)}" for name, value in row.hyperparameters.items())
    data = row.dataset or f"{row.side} pixels, 1 000 classes, untrained"
    head = f"| `{row.name}` | {data} | {settings or 'defaults'} | {_bar(row)} |"
    if result is None:
        return f"{head} **not measured** | | | | | |"
    if result.get("failed"):
        return f"{head} **failed**: {result['failed']:.160} | | | | | |"
    seconds = result["train_seconds"]
    latency = result["latency_ms"]
    return (
        f"{head} {_measured(row, result)} | {_spaced(result['parameters'])} "
        f"| {'—' if seconds is None else f'{seconds:.0f} s'} | {result['parity']:.1e} "
        f"| {_ms(latency['1'])}, {_ms(latency['32'])} | {result['peak_gib']:.1f} GiB |"
    )


def _bar(row: Row) -> str:
    return f"{row.metric} ≥ {row.least:g} ({row.bar})" if row.metric else row.bar


def _measured(row: Row, result: Mapping[str, Any]) -> str:
    if row.metric:
        value = result["metric"]
        said = f"{value:.4f}" if value >= row.least else f"**{value:.4f}, below the bar**"
        every = result.get("values", ())
        parts = "folds" if row.folds else "seeds"
        shown = ", ".join(f"{each:.4f}" for each in every)
        return f"{said} (mean of {len(every)} {parts}: {shown})" if len(every) > 1 else said
    if not row.dataset:
        return f"{result['megabytes']:.0f} MB"
    scores = {k: v for k, v in result["metrics"].items() if k in SCORES}
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 100 else f"{value:.2g} ms"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _spaced(count: float) -> str:
    return f"{round(count):_}".replace("_", " ")


def _explained_line(name: str, explained: Mapping[str, str]) -> str:
    by = ", ".join(f"{m} {s[:-2]}" for m, s in explained.items() if not s.startswith("no"))
    reasons: dict[str, list[str]] = {}
    for method, said in explained.items():
        if said.startswith("no: "):
            reasons.setdefault(said[4:].replace("|", "/"), []).append(method)
    not_by = "; ".join(f"{', '.join(methods)}: {why}" for why, methods in reasons.items())
    return f"| `{name}` | {by or '—'} | {not_by or '—'} |"
