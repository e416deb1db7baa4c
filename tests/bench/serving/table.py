"""Measurements of `side_by_side.py` as a Markdown table of medians over the rounds.

python tests/bench/serving/table.py results.jsonl
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

Key = tuple[str, str, int, str]  # model, client, concurrency, label


def medians(rows: Iterable[Mapping[str, Any]]) -> dict[Key, dict[str, float]]:
    """The median of every number over the rounds, and what went wrong in any of them."""
    groups: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if "failed" not in row:
            groups[row["model"], row["client"], row["concurrency"], row["label"]].append(row)
    return {
        key: {
            name: median(row[name] for row in group)
            for name in ("requests_per_s", "server_us", "p50_ms", "p99_ms", "client_us")
            if all(name in row for row in group)
        }
        | {"bad": sum(row["errors"] + row["wrong"] for row in group), "rounds": len(group)}
        for key, group in groups.items()
    }


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    lines = [
        "| model | client | at once | server | requests/s | server CPU µs/request "
        "| p50 ms | p99 ms | rounds | errors |",
        "|---|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    order = list(dict.fromkeys(row["label"] for row in rows))
    found = medians(rows)
    for key in sorted(found, key=lambda k: (k[0], k[1], k[2], order.index(k[3]))):
        model, client, concurrency, label = key
        m = found[key]
        latency = [f"{m[name]:.2f}" if name in m else "" for name in ("p50_ms", "p99_ms")]
        lines.append(
            f"| {model} | {client} | {concurrency} | {label} | {m['requests_per_s']:,.0f} "
            f"| {m['server_us']:.0f} | {latency[0]} | {latency[1]} | {m['rounds']} | {m['bad']} |"
        )
    lines += [f"\n{row['label']}: {row['failed']}" for row in rows if "failed" in row]
    return "\n".join(lines)


if __name__ == "__main__":
    texts = [Path(argument).read_text() for argument in sys.argv[1:]]
    print(table(json.loads(line) for text in texts for line in text.splitlines()))
