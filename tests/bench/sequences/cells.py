"""Cells of a language model that follow a property of the text: quotes, comments, depth, the line.

python tests/bench/sequences/train.py lstm-source --store /tmp/store
python tests/bench/sequences/cells.py --store /tmp/store --model lstm-source

Every cell's activation over held-out files is correlated with each property; the cell is chosen on
some files and scored on others, beside the best cell of the same network before it learnt anything.
A text coloured by the cell that follows quotes is printed at the end. After Karpathy, Johnson,
Fei-Fei, "Visualizing and understanding recurrent networks", 2015, arXiv:1506.02078, §4.1.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from trainer.data.python_code import structure  # noqa: E402
from trainer.data.registry import load  # noqa: E402
from trainer.data.source_code import files  # noqa: E402
from trainer.recipes.trained import prepare  # noqa: E402
from trainer.zoo.recurrent.heads import LanguageModel  # noqa: E402
from trainer.zoo.registry import find  # noqa: E402
from wintergarden.store import open_store  # noqa: E402
from wintergarden.store.names import WEIGHTS  # noqa: E402
from wintergarden.text import Vocabulary  # noqa: E402

PROPERTIES = ("in_string", "in_comment", "depth", "column")
CHOSEN_ON, SCORED_ON = slice(0, 6), slice(6, 14)
CHARACTERS = 20_000
SHOWN = 600
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Found:
    """The cell whose activation goes with a property best, by Pearson's correlation."""

    cell: int
    chosen: float
    scored: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True)
    parser.add_argument("--model", default="lstm-source")
    arguments = parser.parse_args()
    store = open_store(arguments.store)
    name = arguments.model
    artefact = store.fetch(name, store.latest_version(name))
    manifest = artefact.manifest
    architecture = find(manifest.architecture)
    hyperparameters = architecture.hyperparameters.parse(dict(manifest.hyperparameters))
    fresh = prepare(architecture, hyperparameters, load("python-source"), seed=1)
    vocabulary = fresh.dataset.info.vocabulary
    if vocabulary is None or not isinstance(fresh.network, LanguageModel):
        raise SystemExit(f"{name} is no recurrent language model")
    before = look(fresh.network, vocabulary)
    whole = safetensors.torch.load_file(artefact.path(WEIGHTS))
    weights = {n.removeprefix("network."): t for n, t in whole.items() if n.startswith("network.")}
    fresh.network.load_state_dict(weights or whole)
    after = look(fresh.network, vocabulary)
    for number, said in enumerate(PROPERTIES):
        untrained, trained = best(before, number), best(after, number)
        print(
            f"{said:10}  cell {trained.cell:4}  r {trained.chosen:+.3f} where it was chosen, "
            f"{trained.scored:+.3f} on other files; untrained {untrained.scored:+.3f}"
        )
    quote = best(after, PROPERTIES.index("in_string"))
    text = files("test")[SCORED_ON.start][:SHOWN]
    unbounded = replace(vocabulary, max_tokens=SHOWN)
    activation = activations(fresh.network, unbounded, text)[:, quote.cell]
    print(f"\ncell {quote.cell}, red where it is on and blue where it is off:\n")
    print(coloured(text, np.sign(quote.chosen) * activation))


Looked = list[tuple[Array, Array]]


@torch.no_grad()
def activations(network: LanguageModel, vocabulary: Vocabulary, text: str) -> Array:
    """Every hidden cell of the last layer after each character, (L, H)."""
    ids = torch.from_numpy(vocabulary.encode([text], begin=True)[:, : len(text) + 1])
    outputs, _ = network.recurrent(network.embedding(ids))
    found: Array = outputs[0, 1:].numpy()
    return found


def look(network: LanguageModel, vocabulary: Vocabulary) -> Looked:
    """Of each file its cells (L, H) and properties (P, L)."""
    network.eval()
    unbounded = replace(vocabulary, max_tokens=CHARACTERS)
    looked = []
    for text in files("test")[: SCORED_ON.stop]:
        found = structure(text)
        if found is None:
            continue
        values = np.stack([getattr(found, said)[:CHARACTERS] for said in PROPERTIES])
        looked.append((activations(network, unbounded, text[:CHARACTERS]), values.astype(float)))
    return looked


def best(looked: Looked, number: int) -> Found:
    """The cell of the largest absolute correlation with a property, on the files to choose by."""
    chosen = correlations(looked[CHOSEN_ON], number)
    cell = int(np.nanargmax(np.abs(chosen)))
    return Found(cell, float(chosen[cell]), float(correlations(looked[SCORED_ON], number)[cell]))


def correlations(looked: Looked, number: int) -> Array:
    """Pearson's, of each cell (H,) with a property over all characters of the files."""
    cells = np.concatenate([activation for activation, _ in looked]).astype(float)
    values = np.concatenate([properties[number] for _, properties in looked])
    cells, values = cells - cells.mean(axis=0), values - values.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = (values @ cells) / np.sqrt((cells**2).sum(axis=0) * (values**2).sum())
    return found


def coloured(text: str, activation: Array) -> str:
    """For a terminal: each character on red or blue, the deeper the further from 0."""
    shown = []
    for character, value in zip(text, activation, strict=True):
        weak = round(255 * (1 - min(1.0, abs(float(value)))))
        red, blue = (255, weak) if value > 0 else (weak, 255)
        colour = f"\033[48;2;{red};{weak};{blue}m\033[30m"
        shown.append(character if character == "\n" else f"{colour}{character}\033[0m")
    return "".join(shown)


if __name__ == "__main__":
    main()
