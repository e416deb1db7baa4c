"""Losses and metrics of sequences against PyTorch, scikit-learn and what decoding would give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor
from torch.nn import functional

from trainer.data.registry import datasets
from trainer.recipes.hyperparameters import SequenceHyperparameters
from trainer.recipes.sequence_tasks import LanguageModelling, SequenceToSequence, Tagging
from trainer.recipes.tasks import check_task
from wintergarden.errors import InvalidArgument
from wintergarden.text import Vocabulary


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10_000))
def test_tags_are_judged_as_scikit_learn_does(seed: int) -> None:
    chance = np.random.default_rng(seed)
    labels = chance.integers(-1, 3, (5, 7))
    labels[:, 0] = chance.integers(0, 3, 5)
    task, logits = Tagging(labels, 3), drawn(seed, 5, 7, 3)
    targets = task.targets(labels)
    parts = task.tally(logits[:2], targets[:2]) + task.tally(logits[2:], targets[2:])
    found = task.metrics(parts, 5)
    there = labels >= 0
    true, answered = labels[there], logits.argmax(dim=-1).numpy()[there]
    expected = functional.cross_entropy(logits[torch.from_numpy(there)], torch.from_numpy(true))
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy_score(true, answered))
    assert found["macro_f1"] == pytest.approx(f1_score(true, answered, average="macro"))
    assert float(task.loss(logits, targets)) / 5 == pytest.approx(found["loss"], rel=1e-5)


def test_what_nobody_can_write_is_no_exact_match() -> None:
    """An unknown token that was foreseen is right, and yet the text says "�"."""
    labels = np.array([[2, 4, 3, 0], [2, 1, 4, 3]])
    task = SequenceToSequence(labels)
    targets = task.targets(labels)
    logits = functional.one_hot(targets[:, 1:], 6).float()
    found = task.metrics(task.tally(logits, targets), 2)
    assert (found["exact_match"], found["accuracy"]) == (0.5, 1.0)


def test_exact_matches_are_those_of_greedy_decoding() -> None:
    """A network that looks one token back, decoded step by step."""
    weights = drawn(0, 6, 6)
    weights[2, 4] = weights[4, 3] = 9.0
    labels = np.zeros((60, 6), np.int64)
    chance = np.random.default_rng(0)
    for row in labels:
        length = chance.integers(0, 3)
        row[: length + 2] = [2, *chance.integers(4, 6, length), 3]
    task = SequenceToSequence(labels)

    def network(source: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor]:
        return weights[prefix], source

    targets = task.targets(labels)
    answer = task.ask(network, torch.zeros(60, 1), targets, ())
    assert answer.auxiliary == ()
    assert answer.penalty is None
    found = task.metrics(task.tally(answer.main, targets), 60)
    exact = 0
    for row in labels:
        said = [2]
        while said[-1] != 3 and len(said) < 6:
            said.append(int(weights[said[-1]].argmax()))
        exact += said == [i for i in row if i]
    assert 0 < exact < 60
    assert found["exact_match"] == pytest.approx(exact / 60)


def test_what_a_network_adds_to_the_loss() -> None:
    class Network(torch.nn.Module):
        def forward(self, source: Tensor, prefix: Tensor) -> Any:
            return torch.zeros(*prefix.shape, 5), source

        def penalty(self, others: tuple[Tensor, ...], targets: Tensor) -> Tensor:
            (source,) = others
            return source.sum() + targets.shape[1]

    labels = np.array([[2, 4, 3]])
    task = SequenceToSequence(labels)
    answer = task.ask(Network(), torch.ones(1, 2), task.targets(labels), ())
    assert answer.penalty is not None
    assert float(answer.penalty) == 5.0


def test_bits_are_counted_by_character() -> None:
    vocabulary = Vocabulary("word", ("ab", "cde"), 9, is_marked=True)
    targets = np.array([[4, 5, 3, 0], [1, 3, 0, 0]])  # " ab" " cde" end; unknown, end
    task = LanguageModelling(targets, vocabulary)
    logits = torch.zeros(2, 4, vocabulary.size)
    found = task.metrics(task.tally(logits, task.targets(targets)), 2)
    assert found["loss"] == pytest.approx(math.log(6))
    characters = 3 + 4 + 2  # with the space before each, as `Vocabulary.pieces` has them
    assert found["bits_per_character"] == pytest.approx(5 * math.log2(6) / characters)
    pairs = Vocabulary("byte-pair", ("Ã", "¼", "Ã¼a"), 9, merges=("Ã ¼",))
    assert LanguageModelling(targets, pairs).characters.tolist() == [0, 1, 1, 0, 2]


def test_states_are_handed_on_without_gradients() -> None:
    vocabulary = Vocabulary("character", ("a",), 9, is_marked=True)
    ids = np.array([[4, 4], [4, 4], [4, 4]])
    task, given_states = LanguageModelling(ids, vocabulary), []

    def network(tokens: Tensor, states: tuple[Tensor, ...]) -> Any:
        given_states.append(states)
        rows = torch.ones(len(tokens), 2, requires_grad=True)
        return torch.zeros(*tokens.shape, 5), (2 * rows,)

    inputs = task.targets(ids)
    first = task.ask(network, inputs, inputs, ())
    task.ask(network, inputs[:2], inputs[:2], first.carried)
    assert given_states[0] == ()
    assert given_states[1][0].tolist() == [[2.0, 2.0]] * 2
    assert not first.carried[0].requires_grad


def test_texts_have_no_classes_to_weigh() -> None:
    chosen = SequenceHyperparameters(class_weights="balanced")
    for name in ("dates", "python-source"):
        with pytest.raises(InvalidArgument, match=f"{name} has texts to generate and no classes"):
            check_task(datasets()[name], chosen)
    check_task(datasets()["python-tags"], chosen)
