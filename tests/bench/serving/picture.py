"""Measurements of `side_by_side.py` as bars: requests per second of every server, by model.

    python tests/bench/serving/picture.py results.jsonl picture.png

Takes the highest concurrency that was measured, of requests of one row.
"""

from __future__ import annotations

import sys

import matplotlib as mpl
from matplotlib.axes import Axes
from models import MODELS
from table import IN_PROCESS, Key, medians, read

mpl.use("Agg")
from matplotlib import pyplot

OURS, THEIRS = "#2a7f62", "#9aa5b1"


def draw(file: str, found: dict[Key, dict[str, float]]) -> None:
    """A row of panels for each model, a column for each client."""
    single = {key: numbers for key, numbers in found.items() if key.rows == 1}
    concurrency = max(key.concurrency for key in single)
    single = {k: numbers for k, numbers in single.items() if k.concurrency == concurrency}
    clients = sorted({key.client for key in single}, reverse=True)
    models = [m for m in MODELS if any(key.model == m for key in single)]
    most = len({key.label for key in single})
    size = (7 * len(clients), len(models) * (0.6 + 0.25 * most))
    figure, panels = pyplot.subplots(len(models), len(clients), figsize=size, squeeze=False)
    for row, model in zip(panels, models, strict=True):
        for panel, client in zip(row, clients, strict=True):
            rates = {
                key.label: numbers["requests_per_s"]
                for key, numbers in single.items()
                if (key.model, key.client) == (model, client)
            }
            bars(panel, {name: r for name, r in rates.items() if not name.startswith(IN_PROCESS)})
            panel.set_title(f"{model}, {concurrency} at once: requests/s by {client}", loc="left")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def bars(panel: Axes, rates: dict[str, float]) -> None:
    """The fastest on top."""
    order = sorted(rates, key=lambda label: rates[label])
    for place, label in enumerate(order):
        panel.barh(place, rates[label], color=OURS if label.startswith("wintergarden") else THEIRS)
        panel.text(rates[label], place, f" {rates[label]:,.0f}", va="center", fontsize=8)
    panel.set_yticks(range(len(order)), order, fontsize=8)
    panel.margins(x=0.14)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    *sources, target = sys.argv[1:]
    draw(target, medians(read(sources)))
