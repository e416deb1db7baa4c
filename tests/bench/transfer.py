"""Ten images of each class: with another model's weights, and from scratch.

    python tests/bench/transfer.py [--seeds 5]

The digits of MNIST-5k, each written on a piece of one of scikit-image's photographs, which are
others for each part. Source: LeNet-5 on the digits 0 to 4. Target: the digits 5 to 9, ten training
images of each, drawn anew for each seed; judged on all their held-out images, which nobody has
looked at. Wanted: 5 points in the mean over five seeds, and none below zero.

(On MNIST-5k as it is, and on scikit-learn's digits, there is less to win: LeNet-5 with augmentation
gets 0.94 right after fifty or a hundred images from scratch, and 0.95 with transfer.)
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from trainer.data.dataset import Array, Dataset, Split
from trainer.data.registry import load
from trainer.recipes.evaluation import evaluate
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.recipes.transfer import Source
from trainer.zoo.registry import find

SHOTS, EPOCHS = 10, 40
PHOTOGRAPHS = {
    "train": ("astronaut", "brick", "chelsea", "coffee", "coins", "grass"),
    "validation": ("gravel",),
    "test": ("camera", "moon", "page"),
}
SOURCE_CLASSES, TARGET_CLASSES = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)
BATCH = {"batch_size": 10}
RECIPES: dict[str, dict[str, Any]] = {
    "from scratch": {"epochs": EPOCHS},
    "last layer new, all trained": {"epochs": EPOCHS, "learning_rate": 2e-3, "init_from": "source"},
    "convolutions frozen": {"epochs": EPOCHS, "init_from": "source", "freeze": ["features"]},
    "set free by and by": {
        "epochs": EPOCHS, "learning_rate": 2e-3, "init_from": "source", "rate_decay": 0.7,
        "freeze": ["features", "classifier.1", "classifier.4"], "unfreeze_epochs": 10,
    },
}  # fmt: skip


def on_photographs(dataset: Dataset) -> Dataset:
    """Digits (N, 1, 28, 28) in white on what is dark, in black on what is bright."""

    def part(name: str) -> Split:
        split, rng = getattr(dataset, name), np.random.default_rng(len(name))
        photographs = [photograph(each) for each in PHOTOGRAPHS[name]]
        inputs = np.empty_like(split.inputs)
        for image, ink in zip(inputs[:, 0], split.inputs[:, 0], strict=True):
            beneath = photographs[rng.integers(len(photographs))]
            y, x = (rng.integers(size - 2 * len(ink) + 1) for size in beneath.shape)
            piece = beneath[y : y + 2 * len(ink) : 2, x : x + 2 * len(ink) : 2]
            image[:] = piece + ink * (float(piece.mean() < 0.5) - piece)
        return Split(inputs, split.labels)

    return Dataset(dataset.info, part("train"), part("validation"), part("test"))


def photograph(name: str) -> Array:
    """(H, W) in 0..1."""
    from skimage import color, data

    pixels = getattr(data, name)()
    grey = color.rgb2gray(pixels) if pixels.ndim == 3 else pixels / 255
    return np.asarray(grey, np.float32)


def only(dataset: Dataset, classes: tuple[int, ...]) -> Dataset:
    """The examples of some classes, renumbered."""

    def part(split: Split) -> Split:
        keep = np.isin(split.labels, classes)
        return Split(split.inputs[keep], np.searchsorted(classes, split.labels[keep]))

    labels = tuple(dataset.info.class_labels[number] for number in classes)
    info = replace(dataset.info, class_labels=labels)
    return Dataset(info, part(dataset.train), part(dataset.validation), part(dataset.test))


def few(dataset: Dataset, seed: int) -> Dataset:
    """So many training examples of each class, few to validate on, and the held-out ones."""
    rng, labels = np.random.default_rng(seed), dataset.train.labels
    chosen = np.concatenate(
        [
            rng.choice(np.flatnonzero(labels == number), SHOTS, replace=False)
            for number in range(len(dataset.info.class_labels))
        ]
    )
    validation = Split(dataset.validation.inputs[:SHOTS], dataset.validation.labels[:SHOTS])
    train_ = Split(dataset.train.inputs[chosen], labels[chosen])
    return replace(dataset, train=train_, validation=validation)


def fit(dataset: Dataset, values: dict[str, Any], seed: int, source: Source | None) -> Trained:
    architecture = find("lenet5")
    parsed = architecture.hyperparameters.parse(values)
    return train(architecture, parsed, dataset, seed, source=source if parsed.init_from else None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    mnist = on_photographs(load("mnist-5k"))
    target = only(mnist, TARGET_CLASSES)
    begun = fit(only(mnist, SOURCE_CLASSES), {"epochs": 12}, 0, None)
    source = Source("source", "source:1", begun.network.state_dict())
    sys.stdout.write(f"{len(target.test)} held-out images; seeds {list(seeds)}\n")
    scratch = np.zeros(len(seeds))
    for name, values in RECIPES.items():
        found = np.array(
            [
                evaluate(fit(few(target, n), BATCH | values, n, source), target.test)["accuracy"]
                for n in seeds
            ]
        )
        if not values.get("init_from"):
            scratch = found
        gains = 100 * (found - scratch)
        each = " ".join(f"{value:.3f}" for value in found)
        sys.stdout.write(
            f"{name:30} {found.mean():.4f}  {each}  gain {gains.mean():+.1f} points, "
            f"least {gains.min():+.1f}\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
