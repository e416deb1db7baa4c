"""LeNet-5 on the held-out 1 000 digits of mnist-5k: mean accuracy over seeds, with the defaults.

python tests/bench/lenet_accuracy.py [--seeds 3] [--no-augment] [--threads 1]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from trainer.data.registry import load
from trainer.recipes.classification import evaluate, train
from trainer.zoo.registry import find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-augment", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dataset, architecture = load("mnist-5k"), find("lenet5")
    hyperparameters = architecture.hyperparameters.parse({"augment": not arguments.no_augment})
    accuracies = []
    for seed in range(arguments.seeds):
        wall, cpu = time.perf_counter(), time.process_time()
        trained = train(architecture, hyperparameters, dataset, seed)
        accuracies.append(evaluate(trained, dataset.test)[1])
        print(
            f"seed {seed}: test accuracy {accuracies[-1]:.4f}, epoch {trained.kept_epoch}, "
            f"{time.perf_counter() - wall:.1f} s, {time.process_time() - cpu:.1f} s of CPU",
            flush=True,
        )
    print(f"mean of {len(accuracies)} seeds: {sum(accuracies) / len(accuracies):.4f}")


if __name__ == "__main__":
    main()
