"""What ONNX Runtime computes rightly in a process, the service computes rightly over the wire.

With WINTERGARDEN_SOAK=1 every node test of the ONNX project runs, else one in twenty.
"""

from __future__ import annotations

import importlib.util
import os
import random
import warnings
from collections import Counter
from pathlib import Path

import grpc
import pytest

_SPEC = importlib.util.spec_from_file_location(
    "onnx_backend", Path(__file__).with_name("onnx_backend.py")
)
IS_SOAK = os.environ.get("WINTERGARDEN_SOAK", "") == "1"


def test_node_tests_over_the_wire(world, capsys):
    backend = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(backend)
    cases = backend.node_tests()
    if not IS_SOAK:
        cases = random.Random(3).sample(cases, len(cases) // 20)
    _, client = world.serve(model_control="explicit")
    counts, wrong = Counter(), {}
    for case in cases:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                alone = backend.InProcess(case.model)
                backend.check(case, alone.run)
        except Exception:
            counts["not passed by ONNX Runtime in process"] += 1
            continue
        counts["passed in process"] += 1
        if not alone.is_carriable:
            counts["of types that the protocol cannot carry"] += 1
            with pytest.raises(grpc.RpcError) as caught:
                backend.check(case, backend.WireBackend.prepare(case.model, client=client).run)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, caught.value.details()
            continue
        counts["carried"] += 1
        try:
            backend.check(case, backend.WireBackend.prepare(case.model, client=client).run)
        except (grpc.RpcError, AssertionError, KeyError) as error:
            wrong[case.name] = error.details() if isinstance(error, grpc.RpcError) else str(error)
        else:
            counts["passed over the wire"] += 1
    with capsys.disabled():
        print(f"\nONNX node tests, transport {world.transport}: {len(cases)}, {dict(counts)}")
    assert not wrong, f"{len(wrong)} differ, first: {dict(list(wrong.items())[:20])}"
    assert counts["passed over the wire"] >= len(cases) // 2
