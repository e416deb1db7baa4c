"""Parts, missing values and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.preparation.examples import TEST, TRAIN, VALIDATION, Examples
from trainer.preparation.parts import assign, members, without_duplicates
from trainer.preparation.prepare import arrange
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import make_options

Preparing = Callable[..., Any]


def table(labels: Any, inputs: Any = None, parts: Any = None) -> Examples:
    labels = np.asarray(labels, np.int64)
    values = np.arange(len(labels))[:, None] if inputs is None else np.asarray(inputs)
    names = tuple(f"x{column}" for column in range(values.shape[1]))
    return Examples(
        task="tabular-classification",
        inputs=values.astype(np.float64),
        labels=labels,
        class_labels=tuple(f"class {n}" for n in range(int(labels.max()) + 1)),
        input_name="features",
        units="",
        feature_names=names,
        parts=None if parts is None else np.asarray(parts, np.int8),
        details={"columns": [{"name": name, "kind": "number"} for name in names]},
    )


@given(
    counts=st.lists(st.integers(3, 60), min_size=2, max_size=6),
    validation=st.floats(0.05, 0.3),
    test=st.floats(0.05, 0.3),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_part_has_the_classes_proportions(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    options = make_options({"validation": validation, "test": test, "seed": seed})
    parts = assign(table(labels), options)
    for part, share in ((VALIDATION, validation), (TEST, test)):
        for index, count in enumerate(counts):
            got = int(((labels == index) & (parts == part)).sum())
            assert got >= 1
            assert abs(got - count * share) <= 1
    assert set(labels[parts == TRAIN]) == set(range(len(counts)))
    np.testing.assert_array_equal(parts, assign(table(labels), options))


def test_the_split_never_changes() -> None:
    """Held out for ever: a change here would let models be tested on what they were trained on."""
    parts = assign(table([0] * 12 + [1] * 8), make_options({}))
    assert "".join(map(str, parts)) == "00001020000200010022"


def test_the_order_within_a_part_is_one_of_chance_and_never_changes() -> None:
    parts = np.repeat(np.array([TRAIN, VALIDATION, TEST], np.int8), [6, 2, 4])
    found = members(parts, seed=0)
    assert {part: sorted(at.tolist()) for part, at in found.items()} == {
        TRAIN: [0, 1, 2, 3, 4, 5], VALIDATION: [6, 7], TEST: [8, 9, 10, 11],
    }  # fmt: skip
    assert found[TRAIN].tolist() == [5, 2, 1, 3, 0, 4]
    assert members(parts, seed=1)[TRAIN].tolist() != found[TRAIN].tolist()


def test_another_seed_is_another_split() -> None:
    examples = table([0] * 50 + [1] * 50)
    first, second = (assign(examples, make_options({"seed": seed})) for seed in (0, 1))
    assert (first != second).any()


def test_what_the_file_says_stays_and_the_rest_is_cut_from_its_training_part() -> None:
    labels, said = [0, 1] * 20, [TRAIN] * 30 + [TEST] * 10
    parts = assign(table(labels, parts=said), make_options({"validation": 0.2}))
    assert (parts[30:] == TEST).all()
    assert (parts == VALIDATION).sum() == 6
    whole = [TRAIN] * 20 + [VALIDATION] * 10 + [TEST] * 10
    np.testing.assert_array_equal(assign(table(labels, parts=whole), make_options({})), whole)


def test_classes_too_small_to_be_split_are_named() -> None:
    with pytest.raises(InvalidArgument, match=r"at least 3 examples, .*'class 1' has 2"):
        assign(table([0] * 10 + [1] * 2), make_options({}))
    with pytest.raises(InvalidArgument, match="none is left to train on; lower validation"):
        assign(table([0] * 10 + [1] * 4), make_options({"validation": 0.45, "test": 0.5}))


def test_of_equal_examples_the_one_of_the_test_part_stays() -> None:
    examples = table([0, 1, 0, 1], [[1], [2], [1], [2]], [TRAIN, TRAIN, TEST, VALIDATION])
    kept = without_duplicates(examples)
    assert kept.parts is not None
    assert kept.parts.tolist() == [TEST, VALIDATION]
    assert len(without_duplicates(table([0, 1, 0, 1], [[1], [2], [1], [3]]))) == 3


def test_missing_values_are_refused_by_default_with_their_columns() -> None:
    inputs = np.arange(40.0).reshape(20, 2)
    inputs[3, 1] = inputs[7, 1] = np.nan
    with pytest.raises(InvalidArgument, match=r"missing \(empty or NaN\) in x1 in 2 of 20 exampl"):
        arrange(table([0, 1] * 10, inputs), make_options({}))


def test_missing_numbers_become_the_median_of_the_training_part_alone() -> None:
    inputs = np.arange(20.0)[:, None]
    inputs[0] = np.nan
    inputs[15:] = 1e6  # of the test part
    said = [TRAIN] * 10 + [VALIDATION] * 5 + [TEST] * 5
    examples = table([0, 1] * 10, inputs, said)
    prepared = arrange(examples, make_options({"missing": "impute"}))
    assert prepared.inputs[0, 0] == np.median(np.arange(1.0, 10.0))
    assert prepared.inputs.dtype == np.float32
    assert prepared.report["missing"] == {
        "values": 1,
        "columns": {"x0": 1},
        "handling": "numbers became the training part's median, categories one of their own",
    }
    assert np.isnan(examples.inputs[0, 0]), "what was read is not written to"


def test_a_missing_category_is_one_of_its_own(preparing: Preparing) -> None:
    rows = "".join(f"{'red' if n % 3 else ''},{n % 2}\n" for n in range(20))
    prepared = preparing(f"colour,label\n{rows}", "csv", missing="impute")
    assert prepared.examples.feature_names == ("colour=red", "colour=(missing)")
    assert (prepared.inputs.sum(axis=1) == 1).all()
    with pytest.raises(InvalidArgument, match="colour in 7 of 20 examples"):
        preparing(f"colour,label\n{rows}", "csv")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_values_beyond_single_precision_are_refused(value: float) -> None:
    inputs = np.arange(20.0)[:, None]
    inputs[3] = value
    with pytest.raises(InvalidArgument, match=r"infinite, or beyond .* in x0"):
        arrange(table([0, 1] * 10, inputs), make_options({"missing": "impute"}))


def test_a_column_without_values_to_train_on_is_refused() -> None:
    inputs = np.full((20, 1), np.nan)
    inputs[15:] = 1.0
    said = [TRAIN] * 10 + [VALIDATION] * 5 + [TEST] * 5
    with pytest.raises(InvalidArgument, match="'x0' has no value in the training part"):
        arrange(table([0, 1] * 10, inputs, said), make_options({"missing": "impute"}))


def test_the_report_of_a_table_with_everything_wrong(preparing: Preparing) -> None:
    rows = [f"{n % 7},5,{'a' if n % 11 else 'b'}" for n in range(200)]
    prepared = preparing("x,always,label\n" + "\n".join(rows) + "\n", "csv")
    report = prepared.report
    json.dumps(report, allow_nan=False)
    assert report["examples"] == 200
    assert report["classes"][1] == {"label": "b", "train": 13, "validation": 2, "test": 4}
    assert report["imbalance"] == pytest.approx(181 / 19, abs=1e-3)
    assert report["constant_columns"] == ["always"]
    assert report["columns"][0]["least"] == 0
    assert report["columns"][0]["most"] == 6
    assert report["inputs"]["shape"] == [2]
    assert report["missing"]["handling"] == "refused, which is the default"
    assert report["parts"] == "stratified by class with seed 0: validation 0.1, test 0.2"
    duplicates = report["duplicates"]
    assert duplicates["test_in_train"] == 40
    assert duplicates["contradictory"] == 200
    warnings = " ".join(report["warnings"])
    assert "40 examples of the test part are in the training part too" in warnings
    assert "equal and have different classes" in warnings
    assert "always the same value in always" in warnings


def test_duplicates_are_dropped_where_that_is_wished(preparing: Preparing) -> None:
    rows = [f"{n % 50},{n % 2}" for n in range(100)]
    prepared = preparing("x,label\n" + "\n".join(rows) + "\n", "csv", duplicates="drop")
    duplicates = prepared.report["duplicates"]
    assert duplicates["dropped"] == 50
    assert duplicates["test_in_train"] == duplicates["train"] == duplicates["contradictory"] == 0


def test_classes_far_apart_in_size_and_parts_without_them_are_warned_of() -> None:
    labels = [0] * 100 + [1] * 5
    said = [TRAIN] * 60 + [VALIDATION] * 20 + [TEST] * 20 + [TRAIN] * 5
    warnings = " ".join(arrange(table(labels, parts=said), make_options({})).report["warnings"])
    assert "the largest class has 20 times the examples" in warnings
    assert "right in 95% of all cases" in warnings
    assert "the test part has no example of class 1" in warnings
