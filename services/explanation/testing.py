"""For tests of explanation jobs: a model done by hand, with examples of its own."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wintergarden.store import ManifestFields, TensorInfo, open_store
from wintergarden.store.reference import write_reference

FEATURES, CLASSES, EXAMPLES = 16, 3, 64


def publish_linear(store_uri: str, name: str = "table", seed: int = 0) -> None:
    """Logits are features times weights; the labels of the examples are what it predicts."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(FEATURES, CLASSES)).astype(np.float32)
    made = helper.make_graph(
        [helper.make_node("MatMul", ["features", "w"], ["logits"])],
        "by_hand",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    rows = rng.random((EXAMPLES, FEATURES), np.float32)
    reference = write_reference({"features": rows}, (rows @ weights).argmax(axis=1), rows[:20])
    features = TensorInfo(
        name="features", datatype="FP32", shape=(-1, FEATURES), value_range=(0.0, 1.0)
    )
    with open_store(store_uri).publish(name) as draft:
        draft.write("model.onnx", model.SerializeToString())
        draft.write("reference.npz", reference)
        draft.commit(
            ManifestFields(
                architecture="by-hand",
                task="tabular-classification",
                inputs=(features,),
                outputs=(TensorInfo(name="logits", datatype="FP32", shape=(-1, CLASSES)),),
            )
        )
