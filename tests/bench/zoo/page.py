"""The tables of docs/zoo.md, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from rows import ROWS, SEQUENCES, Row

BEGIN, END = "<!-- made by make zoo-report -->", "<!-- end -->"
Results = Mapping[str, Mapping[str, Any]]
SCORES = ("test_accuracy", "test_mean_iou", "test_r2")


def write_page(page: Path, results: Results, sequences: Mapping[str, Results]) -> None:
    """Puts the tables between the page's marks.

    Args:
        page: docs/zoo.md.
        results: by row.
        sequences: by row of `SEQUENCES` and seed.
    """
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(
        f"{before}{BEGIN}\n{tables(results)}\n\n{sequence_table(sequences)}\n{END}{after}"
    )


def tables(results: Results) -> str:
    """What was measured of each row, and what explained it."""
    lines = [
        "| row | data | hyperparameters | bar | measured | parameters | training | parity "
        "| batch of 1, of 32 | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row, results.get(row.name)) for row in ROWS),
        *_explained_table(ROWS, results),
    ]
    return "\n".join(lines)


def sequence_table(results: Mapping[str, Results]) -> str:
    """What was measured of each network of sequences, over its seeds."""
    lines = [
        "| row | data | hyperparameters | bar | measured | parameters | training | parity |",
        "|---|---|---|---|---|---|---|---|",
        *(_sequence_line(row, results.get(row.name, {})) for row in SEQUENCES),
    ]
    lines += _explained_table(SEQUENCES, {n: r["0"] for n, r in results.items() if "0" in r})
    for row in SEQUENCES:
        lines += _observed(row.name, [*results.get(row.name, {}).values()])
    return "\n".join(lines)


def _observed(name: str, every: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Where a network of sequences is right, and where it looks; over its seeds."""
    seen = [each["observed"] for each in every if each.get("observed")]
    if not seen:
        return []
    if "attention_on_box" in seen[0]:
        shares = [each["attention_on_box"] for each in seen]
        return [
            "",
            f"`{name}`: {mean(shares):.1%} of the attention lies in a digit's box while its name "
            f"is written, of {seen[0]['boxes']} digits named rightly (wanted: 60 %).",
        ]
    counts = {writing: count for writing, (_, count) in seen[0]["by_writing"].items()}
    right = {w: mean(each["by_writing"][w][0] for each in seen) for w in counts}
    told = ", ".join(f"{w} {right[w] / counts[w]:.1%} of {counts[w]}" for w in counts)
    return ["", f"`{name}`, exact match by the writing system of the date: {told}."]


def _sequence_line(row: Row, by_seed: Results) -> str:
    head = f"| `{row.name}` | {row.dataset} | {_settings(row)} | {_bar(row)} |"
    if not by_seed:
        return f"{head} **not measured** | | | |"
    every = [by_seed[seed] for seed in sorted(by_seed, key=int)]
    others = {
        name: value
        for name, value in every[0]["test"].items()
        if name not in (row.metric, "test_loss")
    }
    beside = ", ".join(f"{name} {value:.4f}" for name, value in others.items())
    parity = ", ".join(
        f"`{row.name}{suffix}` {max(max(each['parity'][suffix].values()) for each in every):.1e}"
        for suffix in every[0]["parity"]
    )
    return (
        f"{head} {_judged(row, [each['value'] for each in every])}"
        f"{f'; seed {min(by_seed, key=int)}: {beside}' if beside else ''} "
        f"| {_spaced(every[0]['parameters'])} "
        f"| {mean(each['processor_seconds'] for each in every):.0f} s of a core | "
        f"{parity} |"
    )


def _line(row: Row, result: Mapping[str, Any] | None) -> str:
    data = row.dataset or f"{row.side} pixels, 1 000 classes, untrained"
    head = f"| `{row.name}` | {data} | {_settings(row)} | {_bar(row)} |"
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


def _settings(row: Row) -> str:
    shown = (f"{name}={_shown(value)}" for name, value in row.hyperparameters.items())
    return ", ".join(shown) or "defaults"


def _bar(row: Row) -> str:
    if not (row.metric and (row.least or row.most)):
        return row.bar
    limit = f"≤ {row.most:g}" if row.most else f"≥ {row.least:g}"
    return f"{row.metric} {limit} ({row.bar})"


def _measured(row: Row, result: Mapping[str, Any]) -> str:
    if row.metric:
        return _judged(row, result["values"])
    if not row.dataset:
        return f"{result['megabytes']:.0f} MB"
    scores = {k: v for k, v in result["metrics"].items() if k in SCORES}
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


def _judged(row: Row, every: Sequence[float]) -> str:
    value, wanted = mean(every), row.folds or row.seeds
    said = f"{value:.4f}" if row.is_met(value) else f"**{value:.4f}, the bar is missed**"
    parts = "folds" if row.folds else "seeds"
    if len(every) < wanted:
        parts = f"of {wanted} {parts}"
    shown = ", ".join(f"{each:.4f}" for each in every)
    return f"{said} (mean of {len(every)} {parts}: {shown})" if wanted > 1 else said


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 100 else f"{value:.2g} ms"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _spaced(count: float) -> str:
    return f"{round(count):_}".replace("_", " ")


def _explained_table(rows: Sequence[Row], results: Results) -> list[str]:
    return [
        "",
        "| row | explained by (seconds for one example) | not by |",
        "|---|---|---|",
        *(
            _explained_line(row.name, results[row.name]["explained"])
            for row in rows
            if results.get(row.name, {}).get("explained")
        ),
    ]


def _explained_line(name: str, explained: Mapping[str, str]) -> str:
    by = ", ".join(f"{m} {s[:-2]}" for m, s in explained.items() if not s.startswith("no"))
    reasons: dict[str, list[str]] = {}
    for method, said in explained.items():
        if said.startswith("no: "):
            reasons.setdefault(said[4:].replace("|", "/"), []).append(method)
    not_by = "; ".join(f"{', '.join(methods)}: {why}" for why, methods in reasons.items())
    return f"| `{name}` | {by or '—'} | {not_by or '—'} |"
