"""CSV and Parquet: what becomes of columns, and what is refused with which words."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.preparation import tables
from trainer.preparation.prepare import arrange, read
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import make_options

Reading = Callable[..., Any]
FLOWERS = """petal,colour,species
1.5,red,rose
2,blue,iris
3,red,rose
"""


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def refusal(reading: Reading, content: bytes | str, format_: str = "csv", **options: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        reading(content, format_, **options)
    return caught.value.message


def test_numbers_stay_and_categories_become_columns(reading: Reading) -> None:
    found = reading(FLOWERS, "csv", label="species")
    assert found.task == "tabular-classification"
    assert found.feature_names == ("petal", "colour=blue", "colour=red")
    np.testing.assert_array_equal(found.inputs, [[1.5, 0, 1], [2, 1, 0], [3, 0, 1]])
    assert found.class_labels == ("iris", "rose")
    np.testing.assert_array_equal(found.labels, [1, 0, 1])


def test_a_parquet_file_is_the_same_table(reading: Reading) -> None:
    content = parquet(
        petal=[1.5, 2, 3], colour=["red", "blue", "red"], species=["rose", "iris", "rose"]
    )
    csv, columns = (
        reading(FLOWERS, "csv", label="species"),
        reading(content, "parquet", label="species"),
    )
    np.testing.assert_array_equal(csv.inputs, columns.inputs)
    assert csv.feature_names == columns.feature_names
    assert csv.class_labels == columns.class_labels


def test_columns_are_dropped_or_taken_for_categories(reading: Reading) -> None:
    content = "id,postcode,label\n1,10115,a\n2,20095,b\n3,10115,a\n"
    found = reading(content, "csv", drop=["id"], categorical=["postcode"])
    assert found.feature_names == ("postcode=10115", "postcode=20095")


def test_classes_of_numbers_are_sorted_as_numbers(reading: Reading) -> None:
    content = "x,label\n" + "".join(f"{n},{n}\n" for n in (10, 9, 2, 1))
    assert reading(content, "csv").class_labels == ("1", "2", "9", "10")


def test_a_tab_a_mark_of_the_byte_order_and_quotes(reading: Reading) -> None:
    found = reading('\ufeffx\tlabel\n1\t"a\nb"\n2\tc\n', "csv")
    assert found.class_labels == ("a\nb", "c")
    assert found.feature_names == ("x",)


def test_a_column_that_says_the_part(reading: Reading) -> None:
    content = "x,label,part\n1,a,train\n2,b,Test\n3,a,valid\n"
    found = reading(content, "csv", split="part")
    np.testing.assert_array_equal(found.parts, [0, 2, 1])
    assert found.feature_names == ("x",)
    said = refusal(reading, content.replace("valid", "holdout"), split="part")
    assert said == "column 'part' says holdout; allowed are train, validation and test"


def test_booleans_and_missing_values_are_seen(reading: Reading) -> None:
    found = reading("x,y,label\ntrue,,a\nfalse,2.5,b\n,NaN,b\n", "csv")
    np.testing.assert_array_equal(found.inputs, [[1, np.nan], [0, 2.5], [np.nan, np.nan]])


def test_what_is_no_number_in_a_parquet_file_is_no_value(reading: Reading) -> None:
    numbers = [1.0, float("nan"), 2.0, 1.0]
    said = refusal(reading, parquet(x=numbers, label=numbers), "parquet")
    assert said.startswith("column 'label' has no value in 1 of 4 rows, the first is row 3")
    content = parquet(x=numbers, label=["a", "b", "a", "b"])
    found = reading(content, "parquet", categorical=["x"], missing="impute")
    assert found.feature_names == ("x=1.0", "x=2.0", "x=(missing)")
    np.testing.assert_array_equal(found.inputs, [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (FLOWERS, {}, "there is no column 'label' for the option 'label'; there are petal, colour"),
        (FLOWERS, {"label": "species", "drop": ["x"]}, "no column 'x' for the option 'drop'"),
        ("a,a,label\n1,2,x\n", {}, "columns a are there more than once"),
        ("a,,label\n1,2,x\n", {}, "column 2 has no name"),
        ("label\na\nb\n", {}, "no column is left to learn from"),
        ("", {}, "the file is empty"),
        (
            "x,label\n1,a\n2\n",
            {},
            "the file is no CSV file: CSV parse error: Row #3: Expected 2 columns, got 1",
        ),
        ("x,label\n1,a\n2,a\n", {}, "needs two classes or more; the only one is 'a'"),
        (
            "x,label\n1,a\n2,\n",
            {},
            "column 'label' has no value in 1 of 2 rows, the first is row 3",
        ),
        ("x,when,label\n1,2024-01-01,a\n2,2024-01-02,b\n", {}, "column 'when' holds date32"),
        ("x,label\n,a\n,b\n", {}, "column 'x' has no values at all"),
        ("x\0,label\n1,a\n", {}, "it has bytes that are zero"),
    ],
)
def test_a_table_that_will_not_do(
    reading: Reading, content: str, options: dict[str, Any], says: str
) -> None:
    assert says in refusal(reading, content, **options)


@pytest.mark.parametrize("at", [0, 5_000])
def test_what_is_not_utf8_is_said_with_its_line(reading: Reading, at: int) -> None:
    lines = ["x,label", *(f"{n},a" for n in range(at)), "1,caf\xe9"]
    content = "\n".join(lines).encode("latin-1") + b"\n2,b\n"
    said = refusal(reading, content)
    assert said == f"the file is not in UTF-8: line {at + 2} has byte 0xe9 at 5; save it as UTF-8"


def test_too_many_columns_or_categories(reading: Reading) -> None:
    names = ",".join(f"c{n}" for n in range(5_000))
    assert "there are 5001 columns; at most 4096" in refusal(reading, f"{names},label\n")
    people = "name,label\n" + "".join(f"p{n},{n % 2}\n" for n in range(70))
    said = refusal(reading, people)
    assert "column 'name' has 70 different values, at most 64 become columns" in said
    assert len(reading(people, "csv", max_categories=70).feature_names) == 70


def test_integers_that_single_precision_cannot_tell_apart_are_warned_of(reading: Reading) -> None:
    found = reading("id,label\n123456789,a\n2,b\n", "csv")
    assert "column 'id' has integers beyond 2^24" in found.warnings[0]


def test_a_parquet_file_that_will_not_do(reading: Reading, monkeypatch: Any) -> None:
    assert "is no Parquet file" in refusal(reading, FLOWERS, "parquet")
    whole = parquet(x=[1, 2], label=["a", "b"])
    assert "is no Parquet file" in refusal(reading, whole[:-20], "parquet")
    nested = parquet(x=[[1], [2]], label=["a", "b"])
    assert "column 'x' holds list" in refusal(reading, nested, "parquet")
    monkeypatch.setattr(tables, "MAX_EXAMPLES", 1)
    assert "there are 2 examples; at most 1" in refusal(reading, whole, "parquet")
    monkeypatch.setattr(tables, "MAX_UNPACKED_BYTES", 10)
    monkeypatch.setattr(tables, "MAX_EXAMPLES", 10)
    assert "at most 10 are allowed" in refusal(reading, whole, "parquet")


def test_a_long_text_that_is_repeated_stays_one(reading: Reading) -> None:
    """Plainly read, it would be 10 GB."""
    texts = pa.array(["x" * 1_000_000, "y"])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 10_000), texts)
    content = parquet(x=range(20_000), text=column, label=["a", "b"] * 10_000)
    assert len(content) < 5_000_000
    said = refusal(reading, content, "parquet")
    assert said.startswith("column 'text' has a value of 1000000 characters, and a category has at")
    assert reading(content, "parquet", drop=["text"], label="label").inputs.shape == (20_000, 1)


def test_names_too_long_and_a_csv_file_too_long(reading: Reading, monkeypatch: Any) -> None:
    long = "c" * 257
    assert "has a name of 257 characters; at most 256" in refusal(reading, f"{long},label\n1,a\n")
    said = refusal(reading, f"x,label\n1,a\n2,{long}\n")
    assert "has 257 characters; at most 256 are allowed (is the label column one of texts?)" in said
    monkeypatch.setattr(tables, "MAX_CSV_BYTES", 10)
    assert "bytes; at most 10 are read: save it as Parquet" in refusal(reading, FLOWERS)


@given(content=st.binary(max_size=200), format_=st.sampled_from(["csv", "parquet", "npz", "text"]))
def test_nothing_but_a_refusal_comes_of_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, format_: Any
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "upload"
    path.write_bytes(b"x,label\n" + content if format_ == "csv" else content)
    with contextlib.suppress(InvalidArgument):
        read(path, format_, make_options({"label": "label"}), lambda done: None)


SOUND = parquet(x=list(range(30)), colour=["red", "blue", "grey"] * 10, label=["a", "b"] * 15)


@given(
    flips=st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(1, 255)), min_size=1),
    cut=st.integers(1, 2 * len(SOUND)),
)
@settings(max_examples=100)
def test_nothing_but_a_refusal_comes_of_a_spoilt_parquet_file(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int
) -> None:
    """Among them indices that lead out of a dictionary, which Arrow does not look at unasked."""
    spoilt = bytearray(SOUND)
    for at, bits in flips:
        spoilt[at] ^= bits
    path = tmp_path_factory.mktemp("parquet") / "upload"
    path.write_bytes(bytes(spoilt[:cut]))
    options = make_options({"missing": "impute"})
    with contextlib.suppress(InvalidArgument):
        arrange(read(path, "parquet", options, lambda done: None), options)
