"""Where strings, comments and brackets are; dates that are read back; parts that share nothing."""

from __future__ import annotations

import datetime
from itertools import pairwise

import numpy as np
import pytest

from trainer.data.dates import FIRST, LAST, STYLES, draw_dates
from trainer.data.python_code import MAX_COLUMN, structure
from trainer.data.source_code import FILES, TAGS, WINDOW, files, load_python_source, tags, windows

CODE = '''\
def f(a, b="(x"):  # a comment
    """Text ("with") a bracket
    and 'quotes'."""
    return [a, {b: f"{a}!"}]


x = 1
'''


def shown(text: str) -> str:
    """One sign for each character: code, bracket, string or comment; ends of lines as they are."""
    found = structure(text)
    assert found is not None
    signs = np.array(list(".(s#"))[tags(found)]
    return "".join(c if c == "\n" else sign for c, sign in zip(text, signs, strict=True))


def test_the_tags_of_a_function() -> None:
    lines = shown(CODE).split("\n")
    assert lines[0].startswith(".....")
    text = CODE.split("\n")
    for line, signs in zip(text, lines, strict=True):
        assert len(line) == len(signs)
    assert lines[0][text[0].index("#") :] == "#" * len("# a comment")
    assert lines[0][text[0].index('"(x"') :][:4] == "ssss"
    assert lines[0][text[0].index("(a") : text[0].index('"')] == "(" * len("(a, b=")
    assert lines[1] == "...." + "s" * (len(text[1]) - 4)
    assert lines[2] == "s" * len(text[2])
    assert lines[3][text[3].index('f"') :] == "s" * len('f"{a}!"') + "(("
    assert lines[6] == "....."


def test_the_rest_of_the_structure() -> None:
    found = structure(CODE)
    assert found is not None
    at = CODE.index
    assert found.depth[at("{b")] == 2
    assert found.depth[at("]")] == 1
    assert found.depth[at("return")] == 0
    assert found.column[at("return")] == 4
    assert found.column[at("def")] == 0
    starts = [i for i, is_start in enumerate(found.starts) if is_start]
    line = [CODE.rindex("\n", 0, at(word)) + 1 for word in ('"""Text', "return", "x = 1")]
    assert starts == [0, *line]
    assert structure("def f(:\n  '''") is None
    long = structure("x = 1  " + "#" * 300)
    assert long is not None
    assert long.column.max() == MAX_COLUMN


def test_form_feeds_and_carriage_returns_end_no_lines() -> None:
    text = "a = 1\n\x0c\n# one\r\nb = '\x0c'\n"
    found = structure(text)
    assert found is not None
    assert found.in_comment[text.index("#")]
    assert found.in_string[text.index("'")]
    assert found.starts[text.index("b")]


def test_windows_begin_with_statements_and_are_not_too_long() -> None:
    text = files("validation")[0]
    found = structure(text)
    assert found is not None
    pieces = windows(text, found)
    assert all(0 < piece.stop - piece.start <= WINDOW for piece in pieces)
    assert all(found.starts[piece.start] for piece in pieces)
    assert sum(piece.stop - piece.start for piece in pieces) > 0.6 * len(text)
    assert all(a.stop <= b.start for a, b in pairwise(pieces))
    assert tags(found).max() < len(TAGS)


def test_parts_of_the_standard_library_share_no_file() -> None:
    dataset = load_python_source()
    assert dataset.info.is_verbatim
    parts = [dataset.train, dataset.validation, dataset.test]
    assert [len(part) for part in parts] == list(FILES.values())
    texts = [text for part in parts for text in part.inputs]
    assert len(set(texts)) == len(texts)
    assert files("test") == tuple(dataset.test.inputs)


@pytest.fixture(scope="module")
def written() -> dict[str, list[tuple[str, str, str, str]]]:
    locales = ("de", "en_US", "ja", "ar", "xx_nowhere")
    return {
        part: [(d.text, d.iso, d.locale, d.style) for d in draw_dates(part, 300, locales)]
        for part in ("train", "validation", "test")
    }


def test_dates_are_what_their_locales_write(
    written: dict[str, list[tuple[str, str, str, str]]],
) -> None:
    for text, iso, locale, style in written["test"]:
        day = datetime.date.fromisoformat(iso)
        assert FIRST <= day <= LAST
        assert style in STYLES
        if (locale, style) == ("de", "full"):
            weekdays = ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag")
            assert text.split(",")[0] == (*weekdays, "Sonntag")[day.weekday()]
        if (locale, style) == ("ja", "long"):
            assert text == f"{day.year}年{day.month}月{day.day}日"
        if (locale, style) == ("en_US", "medium"):
            assert text == f"{day:%b} {day.day}, {day.year}"
    assert {locale for _, _, locale, _ in written["test"]} == {"de", "en_US", "ja", "ar"}


def test_no_date_of_a_part_is_in_another(
    written: dict[str, list[tuple[str, str, str, str]]],
) -> None:
    days = {part: {iso for _, iso, _, _ in rows} for part, rows in written.items()}
    assert not days["test"] & (days["train"] | days["validation"])
    assert not days["validation"] & days["train"]
    again = draw_dates("test", 300, ("de", "en_US", "ja", "ar", "xx_nowhere"))
    assert [d.text for d in again] == [text for text, *_ in written["test"]]
