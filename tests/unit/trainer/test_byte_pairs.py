"""Our byte pairs are those of the `tokenizers` library, and no text is lost in them."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from trainer.data.byte_pairs import learn_byte_pairs
from trainer.recipes.text import build_vocabulary
from wintergarden.byte_pair import ALPHABET, CHUNK, BytePairs
from wintergarden.errors import InvalidArgument
from wintergarden.text import Vocabulary

TEXTS = [
    "the cat sat on the mat, and the dog sat by the door",
    "  def the_cat(mat):\n        return sat(mat)  # the end\n",
    "Die Katze saß auf der Matte; der Hund saß vor der Tür — 猫はマットの上に座った",
] * 4


@cache
def learnt() -> tuple[tuple[str, ...], tuple[str, ...]]:
    return learn_byte_pairs(TEXTS, 320)


@cache
def reference() -> Tokenizer:
    tokens, merges = learnt()
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CHUNK), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def vocabulary(*, is_verbatim: bool = True, is_marked: bool = False) -> Vocabulary:
    return build_vocabulary(
        TEXTS, "byte-pair", 320, 10_000, is_marked=is_marked, is_verbatim=is_verbatim
    )


def test_there_are_as_many_as_asked_and_all_bytes() -> None:
    tokens, merges = learnt()
    assert len(tokens) == 320
    assert set(ALPHABET) <= set(tokens)
    assert len(ALPHABET) == 256
    assert all("".join(merge.split(" ")) in tokens for merge in merges)
    assert learn_byte_pairs(TEXTS, 320) == learnt()


words = st.text(st.sampled_from("thecasonmdßü猫 \n\t.,()_#09"), max_size=60)


@given(words)
@example("the  the cat\n\n  sat")
def test_texts_are_taken_apart_as_the_library_does(text: str) -> None:
    assert BytePairs(learnt()[1]).split(text) == reference().encode(text).tokens


@given(st.text(max_size=60))
def test_no_text_is_unknown(text: str) -> None:
    own = vocabulary()
    (ids,) = own.encode([text])
    assert own.text(ids) == text
    assert b"".join(own.pieces(i for i in ids if i)) == text.encode()
    assert not (ids == 1).any()


def test_it_comes_back_from_a_manifest() -> None:
    own = vocabulary(is_marked=True)
    again = Vocabulary.from_fields(json.loads(json.dumps(own.to_fields())))
    assert again == own
    ids = own.encode(["the cat"], begin=True, end=True)
    assert ids[0, 0] == again.begin
    assert ids[0, -1] == again.end
    np.testing.assert_array_equal(again.encode(["the cat"], begin=True, end=True), ids)
    with pytest.raises(InvalidArgument, match="no vocabulary"):
        Vocabulary.from_fields({**own.to_fields(), "merges": ["three of them"]})
    with pytest.raises(InvalidArgument, match="no vocabulary"):
        Vocabulary.from_fields({**own.to_fields(), "tokens": ["no byte: 猫"]})


def test_counting_learns_no_byte_pairs() -> None:
    with pytest.raises(InvalidArgument, match="learnt by the trainer"):
        Vocabulary.build(TEXTS, "byte-pair", 300)


@given(st.text(alphabet="abcé", max_size=300))
def test_long_chunks_are_taken_apart_alike(text: str) -> None:
    """The pair learnt first everywhere, then the next: what the merges mean, however slow."""
    tokens, merges = learnt()
    del tokens
    expected = [character for character in BytePairs(()).split(text)]
    for merge in merges:
        left, right = merge.split(" ")
        place = 0
        while place < len(expected) - 1:
            if expected[place : place + 2] == [left, right]:
                expected[place : place + 2] = [left + right]
            place += 1
    assert BytePairs(merges).split(text) == expected


def test_a_text_without_spaces_takes_no_longer_than_others() -> None:
    _, merges = learnt()
    pairs = BytePairs(merges)
    counted = []

    class Counting(dict):  # type: ignore[type-arg]
        def get(self, *arguments):  # type: ignore[no-untyped-def]
            counted.append(1)
            return super().get(*arguments)

    pairs._ranks = Counting(pairs._ranks)
    looked = []
    for length in (1_000, 10_000):
        counted.clear()
        pairs.split("thecatsat" * (length // 9))
        looked.append(len(counted))
    assert looked[1] < 12 * looked[0], "ten times the text, ten times the work"
