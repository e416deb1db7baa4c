"""What one unit says at each place: cells over a text, feature maps over an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from services.explanation.explain import ExplainQuery, Explanation, explain
from services.explanation.methods import attribution
from services.explanation.subject import Subject, Subjects
from tests.contract.kinds.kinds import KINDS, TOKENS, Kind, graph
from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.store import open_store

CELLS = 5
BOTH_WAYS = Kind(
    "both ways",
    "",
    graph(
        """g (int64[n, t] tokens) => (float[n, 3] logits) {
            embedded = Gather(table, tokens)
            steps = Transpose<perm = [1, 0, 2]>(embedded)
            all, last = GRU<hidden_size = 5, direction = "bidirectional">(steps, w_in, w_back)
            axis = Constant<value = int64[1] {0}>()
            hidden = ReduceSum<keepdims = 0>(last, axis)
            logits = MatMul(hidden, w)
        }""",
        table=(10, 4), w_in=(2, 15, 4), w_back=(2, 15, 5), w=(5, 3),
    ),
    "text-classification",
    TOKENS,
)  # fmt: skip


@pytest.fixture
def opened(tmp_path: Path):
    def open_(kind: Kind) -> Subject:
        store = open_store(str(tmp_path / "store"))
        kind.publish(store, "net")
        options = RuntimeOptions(device="cpu", intra_op_threads=1)
        return Subjects(store, options, 1 << 28).open("net", 0, lambda rows: None)

    return open_


def told(subject: Subject, rows: np.ndarray, unit: int, layer: str = "") -> Explanation:
    query = ExplainQuery(rows, parameters={"unit": unit}, layer=layer)
    return explain(attribution("activation").run, subject, query)


def computed(kind: Kind, tensor: str, shape: list, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """An inner tensor, by ONNX Runtime."""
    model = kind.model()
    model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, 1, shape))
    session = open_session(
        model.SerializeToString(), RuntimeOptions(device="cpu", intra_op_threads=1)
    )
    return session.run(feeds, [tensor])[0]


@pytest.mark.parametrize("unit", [0, CELLS - 1, CELLS, 2 * CELLS - 1])
def test_a_cell_is_followed_over_the_tokens_in_both_directions(opened, unit: int) -> None:
    rows = TOKENS[:3]
    states = computed(BOTH_WAYS, "all", [None] * 4, {"tokens": rows})  # (T, 2, N, H)
    direction, cell = divmod(unit, CELLS)
    answer = told(opened(BOTH_WAYS), rows, unit)
    np.testing.assert_allclose(answer.attributions, states[:, direction, :, cell].T, atol=1e-7)
    assert answer.background == f"unit {unit} of 'all'"
    assert not len(answer.efficiency_gaps)


def test_a_feature_map_is_spread_over_the_image(opened) -> None:
    kind = KINDS["images"]
    rows = kind.rows[:3]
    maps = computed(kind, "lit", [None] * 4, {"image": rows})
    answer = told(opened(kind), rows, 1)
    np.testing.assert_allclose(answer.attributions, maps[:, 1:2], atol=1e-7)
    assert np.abs(answer.attributions).max() > 0


def test_what_has_no_such_place_or_unit_is_refused(opened) -> None:
    recurrent = opened(KINDS["recurrent"])
    with pytest.raises(InvalidArgument, match="unit=5: layer 'all' has 5 units"):
        told(recurrent, TOKENS[:1], 5)
    with pytest.raises(Unsupported, match=r"'hidden' has \[\] places for an input \[6\]; name a"):
        told(recurrent, TOKENS[:1], 0, "hidden")
    with pytest.raises(InvalidArgument, match="has no convolution; name a layer"):
        told(opened(KINDS["tables"]), KINDS["tables"].rows[:1], 0)
    with pytest.raises(Unsupported, match="name a layer that has a place for each"):
        told(opened(KINDS["tables"]), KINDS["tables"].rows[:1], 0, "hidden")
