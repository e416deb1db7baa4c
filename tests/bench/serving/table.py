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
from typing import Any, NamedTuple

IN_PROCESS = "in process"
# What `share` and `share_beside_traffic` are shares of.
_LIMITS = {"share": IN_PROCESS, "share_beside_traffic": f"{IN_PROCESS} beside traffic"}
_NUMBERS = ("requests_per_s", "rows_per_s", "server_us", "p50_ms", "p99_ms", "client_us")


class Key(NamedTuple):
    """What was measured how."""

    model: str
    client: str
    rows: int
    concurrency: int
    label: str


def medians(rows: Iterable[Mapping[str, Any]]) -> dict[Key, dict[str, float]]:
    """The median of every number over the rounds, and what went wrong in any of them.

    `share` is the part of the rows per second that ONNX Runtime reached in process, and
    `share_beside_traffic` of those that it reached while the machine carried the same requests.
    """
    groups: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if "failed" not in row:
            groups[Key(*(row[name] for name in Key._fields))].append(row)
    found = {
        key: {
            name: median(row[name] for row in group)
            for name in _NUMBERS
            if all(name in row for row in group)
        }
        | {"bad": sum(row["errors"] + row["wrong"] for row in group), "rounds": len(group)}
        for key, group in groups.items()
    }
    for key, numbers in found.items():
        for name, label in _LIMITS.items():
            limit = found.get(key._replace(label=label, client="python"))
            if limit:
                numbers[name] = numbers["rows_per_s"] / limit["rows_per_s"]
    return found


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    lines = [
        "| model | rows | client | at once | server | requests/s | of in process "
        "| beside traffic | server CPU µs/request | p50 ms | p99 ms | rounds | errors |",
        "|---|--:|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    order = list(dict.fromkeys(row["label"] for row in rows))
    found = medians(rows)
    for key in sorted(found, key=lambda k: (*k[:4], order.index(k.label))):
        m = found[key]
        latency = [f"{m[name]:.2f}" if name in m else "" for name in ("p50_ms", "p99_ms")]
        shares = " | ".join(f"{m[name]:.2f}" if name in m else "" for name in _LIMITS)
        lines.append(
            f"| {key.model} | {key.rows} | {key.client} | {key.concurrency} | {key.label} "
            f"| {m['requests_per_s']:,.0f} | {shares} | {m['server_us']:.0f} "
            f"| {latency[0]} | {latency[1]} | {m['rounds']} | {m['bad']} |"
        )
    failures = {(row["label"], row["failed"]): None for row in rows if "failed" in row}
    return "\n".join([*lines, *(f"\n{label}: {reason}" for label, reason in failures)])


def read(files: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in Path(file).read_text().splitlines()]


if __name__ == "__main__":
    print(table(read(sys.argv[1:])))
