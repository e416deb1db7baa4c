"""However a text is cut into tokens, the same is said of it, and never half a character."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.inference.generation.pieces import Pieces

texts = st.text("abä€😀\n", max_size=30)
cuts = st.lists(st.integers(0, 200), max_size=12)


def tokens(text: str, places: list[int]) -> list[bytes]:
    content = text.encode()
    at = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    return [content[i:j] for i, j in pairwise(at)]


@given(texts, cuts)
def test_all_is_said_and_each_character_at_once(text, places):
    pieces = Pieces()
    said = [pieces.add(token) for token in tokens(text, places)] + [pieces.end()]
    assert "".join(said) == text  # a half would have become a replacement character


@given(texts, cuts, st.lists(st.text("abä€\n", min_size=1, max_size=3), min_size=1, max_size=3))
def test_a_text_ends_before_its_first_stop_wherever_it_is_cut(text, places, stops):
    pieces, said = Pieces(stops), ""
    for token in tokens(text, places):
        said += pieces.add(token)
        assert text.startswith(said)
        if pieces.is_stopped:
            break
    else:
        said += pieces.end()
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    assert pieces.is_stopped == bool(found)
    # Of several that come with one token, the first counts; of one a token earlier, that one.
    assert not any(stop in said for stop in stops)
    assert said == (text[: min(found)] if len(set(stops)) == 1 and found else said)
    if not found:
        assert said == text


def test_what_cannot_begin_a_stop_is_said_at_once():
    pieces = Pieces(["\n\n"])
    assert [pieces.add(each) for each in (b"a\n", b"b", b"\n", b"\n", b"c")][:4] == [
        "a", "\nb", "", "",
    ]  # fmt: skip
    assert pieces.is_stopped


def test_half_a_character_at_the_end_is_told_as_one_that_is_unknown():
    pieces = Pieces()
    assert pieces.add("€".encode()[:2]) == ""
    assert pieces.end() == "�"


def test_a_text_of_words_does_not_begin_with_the_space_of_its_first():
    pieces = Pieces(is_stripped=True)
    assert [pieces.add(each) for each in (b" a", b" b")] == ["a", " b"]
    assert Pieces().add(b" a") == " a"
