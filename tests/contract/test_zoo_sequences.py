"""What every architecture of sequences promises for each of its tasks, held over the registry."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.data.dataset import Array, Dataset, DatasetInfo, Split, Task
from trainer.decoding.network import Translator, Writer
from trainer.recipes.examples import create_examples
from trainer.recipes.hyperparameters import SequenceHyperparameters
from trainer.recipes.task import Answer
from trainer.recipes.trained import Trained, prepare
from trainer.zoo.registry import architectures, find

SMALL = {
    "hidden_size": 16, "embed_dim": 16, "target_embed_dim": 8, "layers": 1, "num_heads": 2,
    "feedforward_dim": 32, "context": 16, "maps": 8, "piece_tokens": 8, "dropout": 0.0,
    "regularisation": 0.0,
}  # fmt: skip
"""Of these, each takes those it knows."""

CASES = [
    (name, task)
    for name, architecture in architectures().items()
    if issubclass(architecture.hyperparameters, SequenceHyperparameters)
    for task in architecture.tasks
]
ROWS = 8
WORDS = ["a", "bb a", "cab", "abc cba", "b", "ca bc ab", "cc", "bac a b"]
VALUES = ("tabular-classification", "regression")


def objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@cache
def dataset(task: Task) -> Dataset:
    """Eight examples of a task."""
    chance = np.random.default_rng(0)
    texts, classes = objects(WORDS), np.arange(ROWS) % 3
    inputs, labels = {
        "text-classification": (texts, classes),
        "tagging": (texts, objects([np.arange(len(text)) % 3 for text in WORDS])),
        "sequence-to-sequence": (texts, objects([text[::-1].upper() for text in WORDS])),
        "language-modelling": (texts, np.zeros(ROWS, np.int64)),
        "captioning": (chance.random((ROWS, 1, 32, 32), np.float32), texts),
        "tabular-classification": (chance.random((ROWS, 5), np.float32), classes),
        "regression": (
            chance.random((ROWS, 5), np.float32), chance.random((ROWS, 3), np.float32),
        ),
    }[task]  # fmt: skip
    info = DatasetInfo(
        name="small", summary="small", source="here", task=task, input_name="input",
        input_shape=inputs.shape[1:], units="", value_range=None, class_labels=("x", "y", "z"),
        split_sizes=dict.fromkeys(("train", "validation", "test"), ROWS),
    )  # fmt: skip
    return Dataset(info, *([Split(inputs, labels)] * 3))


def untrained(name: str, task: Task) -> Trained:
    architecture = find(name)
    known = architecture.hyperparameters.model_fields
    values = {field: value for field, value in SMALL.items() if field in known}
    return prepare(architecture, architecture.hyperparameters.parse(values), dataset(task), 0)


def batch(trained: Trained, rows: list[int]) -> tuple[Tensor, Tensor]:
    info = trained.dataset.info
    examples = create_examples(trained.dataset.train, trained.task, info, torch.device("cpu"))
    return examples.take(torch.tensor(rows))


def asked(trained: Trained, inputs: Tensor, targets: Tensor) -> Answer:
    return trained.task.ask(trained.network, trained.preprocessing(inputs), targets, ())


def loss(trained: Trained) -> Tensor:
    rows = list(range(min(ROWS, len(trained.dataset.train))))
    inputs, targets = batch(trained, rows)
    answer = asked(trained, inputs, targets)
    summed = trained.task.loss(answer.main, targets)
    return (summed if answer.penalty is None else summed + answer.penalty) / len(rows)


def test_there_are_such() -> None:
    assert {"rnn", "lstm", "gru"} <= {name for name, _ in CASES}
    assert {task for _, task in CASES} >= {
        "text-classification", "tagging", "sequence-to-sequence", "language-modelling", *VALUES,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_batch_is_its_rows(name: str, task: Task) -> None:
    """Whatever the lengths of the texts beside it."""
    trained = untrained(name, task)
    trained.network.eval()
    inputs, targets = batch(trained, [0, 1, 2, 3])
    with torch.no_grad():
        together = asked(trained, inputs, targets).main
        for row in range(4):
            one, its = batch(trained, [row])
            alone = asked(trained, one, its).main
            there = alone.shape[1] if alone.ndim == 3 else None
            torch.testing.assert_close(together[row : row + 1, :there], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_every_parameter_gets_a_gradient_and_the_examples_are_learnt(name: str, task: Task) -> None:
    trained = untrained(name, task)
    trained.network.train()
    optimizer = torch.optim.Adam(trained.network.parameters(), lr=0.01)
    first, steps = float(loss(trained).detach()), 200
    for step in range(steps):
        optimizer.zero_grad()
        step_loss: Any = loss(trained)
        step_loss.backward()
        if step == 0:
            for parameter, tensor in trained.network.named_parameters():
                assert tensor.grad is not None, parameter
                is_needless = task in VALUES and "weight_hh" in parameter  # one step has no before
                assert is_needless or tensor.grad.abs().sum() > 0, parameter
        optimizer.step()
        if float(step_loss.detach()) < 0.3 * first:
            return
    pytest.fail(f"from {first} to {float(step_loss.detach())} in {steps} steps")


@pytest.mark.parametrize(("name", "task"), CASES)
def test_what_writes_can_be_decoded(name: str, task: Task) -> None:
    network = untrained(name, task).network
    if task == "language-modelling":
        assert isinstance(network, Writer)
    elif task in ("sequence-to-sequence", "captioning"):
        assert isinstance(network, Translator)
