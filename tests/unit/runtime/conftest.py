"""Models small enough to compute by hand."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

Shape = list[int | str] | None


@pytest.fixture
def build() -> Callable[..., bytes]:
    """build(operator, {"x": (TensorProto.FLOAT, ["N", 3])}, (TensorProto.FLOAT, shape))."""

    def build(
        operator: str,
        inputs: dict[str, tuple[int, Shape]],
        output: tuple[int, Shape] = (TensorProto.FLOAT, None),
        domain: str = "",
    ) -> bytes:
        graph = helper.make_graph(
            [helper.make_node(operator, list(inputs), ["y"], domain=domain)],
            "by hand",
            [helper.make_tensor_value_info(n, *spec) for n, spec in inputs.items()],
            [helper.make_tensor_value_info("y", *output)],
        )
        opsets = [helper.make_opsetid(d, 18 if d == "" else 1) for d in {"", domain}]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        assert isinstance(model, onnx.ModelProto)
        return model.SerializeToString()

    return build
