"""Texts become ids by one function, and a network of ids is trained, exported and told about."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.data.dataset import Dataset, DatasetInfo, Split
from trainer.export.release import make_release
from trainer.recipes.evaluation import evaluate
from trainer.recipes.hyperparameters import TextHyperparameters
from trainer.recipes.supervised import train
from trainer.recipes.text import tokenised
from trainer.zoo.registry import Architecture, find
from wintergarden.errors import InvalidArgument
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.text import Vocabulary


class Bag(nn.Module):
    """The mean of the tokens' embeddings, and a linear read-out."""

    def __init__(self, tokens: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, 8, padding_idx=0)
        self.read_out = nn.Linear(8, classes)

    @classmethod
    def build(cls, hyperparameters: Any, dataset: DatasetInfo) -> Bag:
        assert dataset.vocabulary is not None
        return cls(dataset.vocabulary.size, len(dataset.class_labels))

    def forward(self, ids: Tensor) -> Tensor:
        there = (ids > 0).float()[..., None]
        summed = (self.embedding(ids) * there).sum(dim=1)
        logits: Tensor = self.read_out(summed / there.sum(dim=1).clamp_min(1.0))
        return logits


BAG = Architecture(
    "bag", "A bag of tokens", "none", ("text-classification",), TextHyperparameters, Bag
)
INFO = DatasetInfo(
    name="greetings", summary="greetings", source="here", task="text-classification",
    input_name="text", input_shape=(), units="text", value_range=None,
    class_labels=("de", "en"), split_sizes={"train": 40, "validation": 8, "test": 8},
)  # fmt: skip


@pytest.fixture(scope="module")
def greetings() -> Dataset:
    german = ["guten tag", "schönen abend", "gute nacht", "auf wiedersehen"]
    english = ["good day", "a nice evening", "good night", "see you again"]

    def part(times: int) -> Split:
        texts = [f"{t} {'!' * i}" for i in range(times) for t in (*german, *english)]
        return Split(np.array(texts, dtype=object), np.array(([0] * 4 + [1] * 4) * times))

    return Dataset(INFO, part(5), part(1), part(1))


@given(st.lists(st.text(), min_size=1), st.sampled_from(["character", "word"]))
def test_known_tokens_come_back(texts: list[str], level: Any) -> None:
    vocabulary = Vocabulary.build(texts, level, 10_000)
    ids = vocabulary.encode(texts)
    assert ids.dtype == np.int64
    assert ids.shape[1] >= 1
    for row, text in zip(ids, texts, strict=True):
        tokens = [t for t in vocabulary.decode(row) if t]
        assert "�" not in tokens or "�" in text
        again = vocabulary.encode([("" if level == "character" else " ").join(tokens)])[0]
        assert [i for i in again if i] == [i for i in row if i]
    assert Vocabulary.from_fields(json.loads(json.dumps(vocabulary.to_fields()))) == vocabulary


def test_by_hand() -> None:
    vocabulary = Vocabulary.build(["Ab  a", "b\na c"], "word", 3, max_tokens=3)
    assert vocabulary.tokens == ("a", "ab", "b")
    assert vocabulary.encode(["c a\u0301 a B ab", ""]).tolist() == [[1, 1, 2], [0, 0, 0]]
    assert Vocabulary.build(["Ab  a"], "character", 9).tokens == (" ", "A", "a", "b")
    assert vocabulary.size == 5
    for spoilt in ({}, {"level": "line", "tokens": [], "max_tokens": 1}):
        with pytest.raises(InvalidArgument, match="no vocabulary"):
            Vocabulary.from_fields(spoilt)


@pytest.mark.parametrize("level", ["character", "word"])
def test_texts_are_learnt_exported_and_told_about(greetings: Dataset, level: str) -> None:
    parsed = TextHyperparameters.parse(
        {"tokens": level, "epochs": 40, "batch_size": 8, "learning_rate": 0.03}
    )
    trained = train(BAG, parsed, greetings, 0)
    assert evaluate(trained, trained.dataset.test)["accuracy"] == 1.0
    assert trained.dataset.digest == greetings.digest
    release = make_release(trained, "greetings")
    fields = release.fields
    (given,) = fields.inputs
    assert (given.name, given.datatype, given.shape) == ("tokens", "INT64", (-1, -1))
    assert fields.vocabulary is not None
    vocabulary = Vocabulary.from_fields(fields.vocabulary.model_dump())
    assert vocabulary == trained.dataset.info.vocabulary
    session = open_session(release.files["model.onnx"], RuntimeOptions(device="cpu"))
    for texts in (["good night"], ["gute nacht", "x", "good day to all of you"], [""]):
        ids = vocabulary.encode(texts)
        _, probabilities = session.run({"tokens": ids})
        with torch.no_grad():
            expected = trained.network(torch.from_numpy(ids)).softmax(dim=1)
        np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-5)
    assert "int64" in release.files["card/README.md"].decode()


def test_the_vocabulary_is_of_the_training_part_alone(greetings: Dataset) -> None:
    odd = Split(np.array(["ξ"], dtype=object), np.array([0]))
    made = tokenised(dataclasses.replace(greetings, test=odd), TextHyperparameters())
    assert made.test.inputs.tolist() == [[1]]
    assert made.info.vocabulary is not None
    assert "ξ" not in made.info.vocabulary.tokens
    assert tokenised(made, TextHyperparameters()) is made


def test_a_network_of_numbers_refuses_texts(greetings: Dataset) -> None:
    with pytest.raises(InvalidArgument, match="greetings holds texts"):
        train(find("mlp"), find("mlp").hyperparameters(), greetings, 0)
