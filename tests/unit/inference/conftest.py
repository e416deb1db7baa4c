from __future__ import annotations

from collections.abc import Callable

import onnx.parser
import pytest

from wintergarden.runtime import RuntimeOptions, Session, open_session

_HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'


@pytest.fixture
def session_of() -> Callable[[str], Session]:
    """Opens a graph given in ONNX's text form."""

    def make(graph: str) -> Session:
        model = onnx.parser.parse_model(_HEADER + graph)
        onnx.checker.check_model(model)
        return open_session(
            model.SerializeToString(), RuntimeOptions(device="cpu", intra_op_threads=1)
        )

    return make
