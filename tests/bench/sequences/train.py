"""Trains a network that writes, publishes its family, and says how good the served graphs are.

python tests/bench/sequences/train.py bahdanau
python tests/bench/sequences/train.py transformer --seed 1 --set epochs=12 --store /tmp/store
python tests/bench/sequences/train.py --list

Its numbers are kept in results.json beside this file, by row and seed; docs/zoo.md shows them.
What was tried with --set is printed and not kept: it is not what the row says.
One thread unless told otherwise; a seed and thread count give the same weights on one machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/bench/zoo")]

from explaining import explained_by  # noqa: E402
from observations import observe  # noqa: E402
from rows import SEQUENCES, find_row  # noqa: E402

from services.explanation.explain import ExplainQuery  # noqa: E402
from trainer.data.registry import load  # noqa: E402
from trainer.export.family import make_releases  # noqa: E402
from trainer.export.publish import publish_family  # noqa: E402
from trainer.recipes.supervised import train  # noqa: E402
from trainer.recipes.watcher import Watcher  # noqa: E402
from trainer.zoo.registry import find  # noqa: E402
from wintergarden.store import ModelStore, open_store  # noqa: E402
from wintergarden.store.names import FORCED, MODEL, REFERENCE  # noqa: E402
from wintergarden.store.reference import read_reference  # noqa: E402

RESULTS = Path(__file__).with_name("results.json")
TOKENS_EXPLAINED = 40
"""Of the first held-out text, whose sessions would otherwise be of pages."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", nargs="?", choices=[row.name for row in SEQUENCES])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--store", help="where the family is published; empty: nowhere for good")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    arguments = parser.parse_args()
    if arguments.list or not arguments.row:
        say(*(row.name for row in SEQUENCES))
        return
    chosen = dict(pair.split("=", 1) for pair in arguments.set)
    values = {name: json.loads(value) for name, value in chosen.items()}
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or folder
        result = measure(arguments.row, values, seed=arguments.seed, store=store)
    result["machine"] = f"{platform.machine()}, {arguments.threads} threads"
    if not values:
        found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        found.setdefault(arguments.row, {})[str(arguments.seed)] = result
        RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    say(json.dumps(result, indent=1, sort_keys=True))


def measure(name: str, values: Mapping[str, Any], *, seed: int, store: str) -> dict[str, Any]:
    """Trains, publishes, and reads what the manifest says."""
    row = find_row(name)
    found = find(row.architecture)
    hyperparameters = found.hyperparameters.parse({**row.hyperparameters, **values})
    started, processor = time.perf_counter(), time.process_time()

    def tell(step: int, metrics: Mapping[str, float]) -> None:
        said = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        say(f"step {step}, {time.perf_counter() - started:.0f} s: {said}")

    trained = train(found, hyperparameters, load(row.dataset), seed, Watcher(on_epoch=tell))
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor
    releases = make_releases(trained, name, (), say)
    manifest = publish_family(open_store(store), name, releases)
    (whole,) = (release for release in releases if not release.suffix)
    explained = {}
    if seed == 0:
        explained = _explained(open_store(store), name)
    return {
        "value": manifest.metrics[row.metric],
        "parameters": manifest.metrics["parameters"],
        "test": {k: v for k, v in sorted(manifest.metrics.items()) if k.startswith("test_")},
        "parity": {release.suffix: release.fields.parity["fp32"] for release in releases},
        "explained": explained,
        "observed": observe(trained, whole.files[MODEL]),
        "seconds": seconds,
        "processor_seconds": processor_seconds,
    }


def _explained(store: ModelStore, name: str) -> dict[str, str]:
    """What writes is explained by its teacher-forced sibling, at the last place of a text."""
    forced = f"{name}{FORCED}"
    model = forced if forced in store.published() else name
    artefact = store.fetch(model, store.latest_version(model))
    inputs = read_reference(artefact.path(REFERENCE)).inputs
    first, *others = [spec.name for spec in artefact.manifest.inputs]
    rows = inputs[first][:1]
    if rows.ndim == 2:
        rows = rows[:, :TOKENS_EXPLAINED]
    query = ExplainQuery(rows, context={other: inputs[other][:1] for other in others})
    return explained_by(store, model, query, torch.get_num_threads())


def say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
