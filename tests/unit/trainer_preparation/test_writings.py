"""Texts: tables of them, and archives with a folder a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trainer.preparation import writings
from wintergarden.errors import InvalidArgument

Reading = Callable[..., Any]
REVIEWS = "label\ttext\ngood\tI liked it\nbad\t12\ngood\tNA\n"


def refusal(reading: Reading, content: bytes | str, **options: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        reading(content, "text", **options)
    return caught.value.message


def test_a_table_of_texts(reading: Reading) -> None:
    found = reading(REVIEWS.replace("NA", "n.a."), "text")
    assert found.task == "text-classification"
    assert found.inputs.tolist() == ["I liked it", "12", "n.a."]
    assert found.class_labels == ("bad", "good")
    assert found.details["characters"]["most"] == 10


def test_columns_by_other_names_and_with_commas(reading: Reading) -> None:
    content = 'stars,review\n5,"Good, really"\n1,Bad\n'
    found = reading(content, "text", label="stars", text="review")
    assert found.inputs.tolist() == ["Good, really", "Bad"]
    assert found.class_labels == ("1", "5")
    assert "no column 'text' for the option 'text'; there are stars, review" in refusal(
        reading, content, label="stars"
    )


def test_an_archive_of_texts(reading: Reading, archive: Any) -> None:
    content = archive({
        "train/good/1.txt": b"fine", "train/bad/1.txt": "schlecht – sehr".encode(),
        "test/bad/2.txt": b"\xef\xbb\xbfawful", "test/good/2.txt": b"great",
    })  # fmt: skip
    found = reading(content, "text")
    assert found.inputs.tolist() == ["awful", "great", "schlecht – sehr", "fine"]
    assert found.parts.tolist() == [2, 2, 0, 0]


def test_texts_that_will_not_do(
    reading: Reading, archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = archive({"good/1.txt": b"fine", "bad/1.txt": b" \n"})
    assert refusal(reading, empty).startswith("example 1 is an empty text")
    latin = archive({"good/1.txt": b"fine", "bad/1.txt": "schön".encode("latin-1")})
    assert refusal(reading, latin).startswith("'bad/1.txt' is not in UTF-8: byte 3")
    monkeypatch.setattr(writings, "MAX_TEXT_BYTES", 5)
    long = archive({"good/1.txt": b"fine", "bad/1.txt": b"too long"})
    assert refusal(reading, long) == "'bad/1.txt' has 8 bytes; at most 5 are allowed"
    assert "example 1 is a text of 10 bytes" in refusal(reading, REVIEWS.replace("NA", "x"))
