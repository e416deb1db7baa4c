"""Held-out accuracy of an architecture over seeds, or over the folds of all examples.

python tests/bench/accuracy.py                                   LeNet-5 on mnist-5k, defaults
python tests/bench/accuracy.py --set augment=false
python tests/bench/accuracy.py mlp breast-cancer --folds 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from trainer.data.dataset import Dataset, Split
from trainer.data.registry import load
from trainer.recipes.evaluation import evaluate
from trainer.recipes.supervised import train
from trainer.zoo.registry import check_fits, find


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architecture", nargs="?", default="lenet5")
    parser.add_argument("dataset", nargs="?", default="mnist-5k")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=1, help="1: the fixed split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", type=setting)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dataset, architecture = load(arguments.dataset), find(arguments.architecture)
    check_fits(architecture, dataset.info)
    hyperparameters = architecture.hyperparameters.parse(dict(arguments.set))
    means = []
    for seed in range(arguments.seeds):
        wall, cpu = time.perf_counter(), time.process_time()
        means.append(
            statistics.mean(
                evaluate(train(architecture, hyperparameters, fold, seed), fold.test)["accuracy"]
                for fold in folds(dataset, arguments.folds, seed)
            )
        )
        print(
            f"seed {seed}: accuracy {means[-1]:.4f}, {time.perf_counter() - wall:.1f} s, "
            f"{time.process_time() - cpu:.1f} s of CPU",
            flush=True,
        )
    print(f"mean of {len(means)} seeds: {statistics.mean(means):.4f}")


def setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)


def folds(dataset: Dataset, count: int, seed: int) -> Iterator[Dataset]:
    """The data set as it is, or cut anew, with its validation part taken from what is trained."""
    if count == 1:
        yield dataset
        return
    splits = (dataset.train, dataset.validation, dataset.test)
    inputs = np.concatenate([split.inputs for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    cut = StratifiedKFold(count, shuffle=True, random_state=seed)
    for seen, held_out in cut.split(inputs, labels):
        validation, train_ = np.split(seen, [len(dataset.validation)])
        yield replace(
            dataset,
            train=Split(inputs[train_], labels[train_]),
            validation=Split(inputs[validation], labels[validation]),
            test=Split(inputs[held_out], labels[held_out]),
        )


if __name__ == "__main__":
    main()
