"""Texts of every task of sequences become ids as its networks are promised them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.dataset import Array, Dataset, DatasetInfo, Split
from trainer.recipes.hyperparameters import SequenceHyperparameters, TextHyperparameters
from trainer.recipes.text import tokenised
from wintergarden.errors import InvalidArgument
from wintergarden.text import Vocabulary

INFO = DatasetInfo(
    name="texts", summary="texts", source="here", task="sequence-to-sequence", input_name="text",
    input_shape=(), units="text", value_range=None, class_labels=(),
    split_sizes={"train": 2, "validation": 1, "test": 1},
)  # fmt: skip


def objects(*values: Any) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def dataset(task: Any, inputs: Array, labels: Array, **more: Any) -> Dataset:
    one = Split(inputs[:1], labels[:1])
    return Dataset(replace(INFO, task=task, **more), Split(inputs, labels), one, one)


@given(st.lists(st.text(max_size=20), min_size=1), st.sampled_from(["character", "word"]))
def test_marks_stand_around_a_text_and_are_not_of_it(texts: list[str], level: Any) -> None:
    own = Vocabulary.build(texts, level, 1000, is_marked=True, is_verbatim=True)
    assert (own.begin, own.end) == (2, 3)
    ids = own.encode(texts, begin=True, end=True)
    for row, text in zip(ids, texts, strict=True):
        assert row[0] == 2
        assert (row == 3).sum() == 1
        assert own.text(row) == text
        assert own.decode(row[:1]) == [""]
    if "" not in texts:
        np.testing.assert_array_equal(own.encode(texts), np.where(ids == 3, 0, ids)[:, 1:-1])


def test_a_text_that_is_cut_off_has_no_end() -> None:
    own = Vocabulary.build(["abcdef"], "character", 10, max_tokens=3, is_marked=True)
    assert own.encode(["abcdef", "abc"], begin=True, end=True)[:, 1:].tolist() == [
        [4, 5, 6, 0],
        [4, 5, 6, 3],
    ]
    plain = Vocabulary.build(["abcdef"], "character", 10)
    assert (plain.begin, plain.end) == (None, None)
    with pytest.raises(InvalidArgument, match="no ids for begin and end"):
        plain.encode(["a"], end=True)


def test_white_space_of_source_code_stays() -> None:
    code = "def f(x):\n    return  X\t# e\u0301\n"
    for level in ("character", "word"):
        own = Vocabulary.build([code], level, 100, is_verbatim=True)
        assert own.text(own.encode([code])[0]) == code
    assert Vocabulary.build([code], "word", 100).text([2]) != " "


def test_pairs() -> None:
    made = tokenised(
        dataset("sequence-to-sequence", objects("ab", "b"), objects("xyz", "z")),
        SequenceHyperparameters(),
    )
    own, written = made.info.vocabulary, made.info.target_vocabulary
    assert own is not None
    assert written is not None
    assert not own.is_marked
    assert made.train.labels.tolist() == [[2, 5, 6, 4, 3], [2, 4, 3, 0, 0]]
    assert [own.text(row) for row in made.train.inputs] == ["ab", "b"]
    assert tokenised(made, SequenceHyperparameters()) is made


def test_captions_of_pictures() -> None:
    pictures = np.zeros((2, 1, 4, 4), np.float32)
    made = tokenised(dataset("captioning", pictures, objects("a", "bb")), SequenceHyperparameters())
    assert made.train.inputs is pictures
    assert made.info.vocabulary is None
    assert made.train.labels.tolist() == [[2, 5, 3, 0], [2, 4, 4, 3]]


def test_tags_stand_beside_their_characters() -> None:
    labels = objects(np.array([0, 1, 1]), np.array([2]))
    texts = dataset("tagging", objects("a\n ", "b"), labels, class_labels=("x", "y", "z"))
    made = tokenised(texts, SequenceHyperparameters())
    assert made.train.labels.tolist() == [[0, 1, 1], [2, -1, -1]]
    assert (made.train.inputs > 0).tolist() == [[True] * 3, [True, False, False]]
    cut = tokenised(texts, SequenceHyperparameters(max_tokens=2))
    assert cut.train.labels.tolist() == [[0, 1], [2, -1]]
    with pytest.raises(InvalidArgument, match="'tokens': got 'word'; allowed is 'character'"):
        tokenised(texts, SequenceHyperparameters(tokens="word"))
    assert made.digest == texts.digest
    other = Split(texts.train.inputs, objects(np.array([0, 1, 2]), np.array([2])))
    assert replace(texts, train=other).digest != texts.digest


@given(st.lists(st.text("ab", max_size=9), min_size=1, max_size=4), st.integers(2, 5))
def test_documents_are_cut_into_pieces_that_go_on(texts: list[str], size: int) -> None:
    documents = dataset("language-modelling", objects(*texts), np.zeros(len(texts), np.int64))
    made = tokenised(documents, SequenceHyperparameters(piece_tokens=size))
    own = made.info.vocabulary
    assert own is not None
    whole = [own.encode([text], begin=True, end=True)[0].tolist() for text in texts]
    pieces = iter(zip(made.train.inputs.tolist(), made.train.labels.tolist(), strict=True))
    for ids in whole:
        read: list[int] = []
        said: list[int] = []
        while len(said) < len(ids) - 1:
            seen, following = next(pieces)
            read += [i for i in seen if i]
            said += [i for i in following if i]
        assert (read, said) == (ids[:-1], ids[1:])
    assert next(pieces, None) is None


def test_who_cannot_write_is_told() -> None:
    pairs = dataset("sequence-to-sequence", objects("a", "b"), objects("x", "y"))
    documents = dataset("language-modelling", objects("a", "b"), np.zeros(2, np.int64))
    with pytest.raises(InvalidArgument, match="this architecture writes none"):
        tokenised(pairs, TextHyperparameters())
    with pytest.raises(InvalidArgument, match="this architecture learns none"):
        tokenised(documents, TextHyperparameters())
    with pytest.raises(InvalidArgument, match="at least 256 with tokens byte-pair"):
        TextHyperparameters.parse({"tokens": "byte-pair", "vocabulary_size": 200})
