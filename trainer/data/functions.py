"""Functions of one number, sampled with noise; the test part is without, so truth is exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.data.dataset import Array, Dataset, DatasetInfo, Split

NOISE = 0.05
_SIZES = {"train": 512, "validation": 128, "test": 256}

FUNCTIONS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "sin": ("sin πx", lambda x: np.sin(np.pi * x)),
    "step": ("0 below 0 and 1 above", lambda x: (x > 0).astype(x.dtype)),
    "abs": ("|x|", np.abs),
}
"""What each is, and how it is computed."""


def function_info(name: str) -> DatasetInfo:
    """The data set of a function."""
    formula, _ = FUNCTIONS[name]
    return DatasetInfo(
        name=f"function-{name}",
        summary=f"{formula} on -1..1, with normal noise of {NOISE} but in the test part",
        source="generated; Hornik, Stinchcombe, White 1989 say why a hidden layer learns it",
        task="regression",
        input_name="x",
        input_shape=(1,),
        units="none",
        value_range=(-1.0, 1.0),
        class_labels=("y",),
        split_sizes=dict(_SIZES),
        feature_names=("x",),
    )


def load_function(name: str) -> Dataset:
    """Random places to learn from; evenly spaced ones, in random order, to be tested at."""
    _, compute = FUNCTIONS[name]
    generator = np.random.default_rng(sorted(FUNCTIONS).index(name))

    def part(x: Array, noise: float) -> Split:
        y = compute(x) + noise * generator.standard_normal(x.shape)
        return Split(x.astype(np.float32), y.astype(np.float32))

    def noisy(size: int) -> Split:
        return part(generator.uniform(-1, 1, (size, 1)), NOISE)

    held_out = generator.permutation(np.linspace(-1, 1, _SIZES["test"]))[:, None]
    return Dataset(
        function_info(name),
        train=noisy(_SIZES["train"]),
        validation=noisy(_SIZES["validation"]),
        test=part(held_out, 0),
    )
