"""Tensors that have time first are not taken for rows, however many rows there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.explanation import subject as subject_module
from services.explanation.explain import ExplainQuery, explain
from services.explanation.methods import attribution
from services.explanation.subject import Subject, Subjects
from tests.contract.kinds.kinds import TOKENS, Kind, graph
from wintergarden.errors import Unsupported
from wintergarden.runtime import RuntimeOptions
from wintergarden.store import open_store

TIME_FIRST = Kind(
    "time first",
    "",
    graph(
        """g (int64[n, t] tokens) => (float[n, 3] logits, float[t, n, 3] tags) {
            turned = Transpose<perm = [1, 0]>(tokens)
            embedded = Gather(table, turned)
            all, last = GRU<hidden_size = 5>(embedded, w_in, w_back)
            axis = Constant<value = int64[1] {0}>()
            directions = Constant<value = int64[1] {1}>()
            states = Squeeze(all, directions)
            hidden = ReduceSum<keepdims = 0>(last, axis)
            logits = MatMul(hidden, w)
            tags = MatMul(states, w)
        }""",
        table=(10, 4), w_in=(1, 15, 4), w_back=(1, 15, 5), w=(5, 3),
    ),
    "text-classification",
    TOKENS,
)  # fmt: skip


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    store = open_store(str(tmp_path / "store"))
    TIME_FIRST.publish(store, "net")
    options = RuntimeOptions(device="cpu", intra_op_threads=1)
    return Subjects(store, options, 1 << 28).open("net", 0, lambda rows: None)


@pytest.mark.parametrize(
    ("method", "asked", "tensor"),
    [
        ("saliency", {}, "embedded"),
        ("integrated_gradients", {}, "embedded"),
        ("activation", {"layer": "states"}, "states"),
        ("saliency", {"output_name": "tags"}, "tags"),
        ("kernel_shap", {"output_name": "tags"}, "tags"),
    ],
)
@pytest.mark.parametrize("batch", [1 << 20, 1])
def test_as_many_rows_as_steps(
    subject: Subject,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    asked: dict[str, str],
    tensor: str,
    batch: int,
) -> None:
    monkeypatch.setattr(subject_module, "_BATCH_BYTES", batch)
    steps = TOKENS.shape[1]
    rows = np.resize(TOKENS, (steps, steps))
    with pytest.raises(Unsupported, match=rf"'{tensor}' .* for {steps} rows; "):
        explain(attribution(method).run, subject, ExplainQuery(rows, **asked))


def test_logits_of_the_same_model_are_explained(subject: Subject) -> None:
    steps = TOKENS.shape[1]
    rows = np.resize(TOKENS, (steps, steps))
    told = explain(attribution("kernel_shap").run, subject, ExplainQuery(rows, background=rows[:1]))
    assert told.attributions.shape == rows.shape
