"""tritonclient, unchanged, in a process of its own: its protobuf pins are not ours."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

# Another interpreter that has tritonclient, where the one that runs the tests has not.
PYTHON = os.environ.get("WINTERGARDEN_TRITON_PYTHON", "")

CLIENT = """
import sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

address, source, target = sys.argv[1:]
requests = np.load(source)["x"]


def tensor(name, array, datatype):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


with triton.InferenceServerClient(address) as client:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("classifier") and client.is_model_ready("classifier", "1")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata().name == "wintergarden"
    metadata = client.get_model_metadata("classifier")
    assert [(i.name, i.datatype, list(i.shape)) for i in metadata.inputs] == [("x", "FP32", [-1, 4])]
    assert [o.name for o in metadata.outputs] == ["logits", "probabilities"]
    ready = {m.name for m in client.get_model_repository_index().models if m.state == "READY"}
    assert {"classifier", "sum", "echo"} <= ready

    texts = np.array([[b"winter"], ["G\\u00e4rten".encode()]], dtype=object)
    echoed = client.infer("echo", [tensor("x", texts, "BYTES")]).as_numpy("y")
    assert echoed.tolist() == texts.tolist(), echoed

    wanted = [triton.InferRequestedOutput("probabilities")]
    x = [tensor("x", requests[0], "FP32")]
    subset = client.infer("classifier", x, outputs=wanted, request_id="r1", priority=1, timeout=10**6)
    assert subset.get_response().id == "r1"
    assert subset.as_numpy("logits") is None and subset.as_numpy("probabilities") is not None

    for model, inputs, status in (
        ("nobody", x, "StatusCode.NOT_FOUND"),
        ("classifier", [tensor("y", requests[0], "FP32")], "StatusCode.INVALID_ARGUMENT"),
        ("classifier", [tensor("x", requests[0].astype(np.float64), "FP64")], "StatusCode.INVALID_ARGUMENT"),
    ):
        try:
            client.infer(model, inputs)
        except InferenceServerException as error:
            assert error.status() == status, error
        else:
            raise AssertionError(model)

    answers = [
        client.infer("classifier", [tensor("x", r, "FP32")]) for r in requests
    ]
    np.savez(
        target,
        logits=np.stack([a.as_numpy("logits") for a in answers]),
        probabilities=np.stack([a.as_numpy("probabilities") for a in answers]),
    )
"""


@pytest.fixture(scope="module")
def python():
    if PYTHON:
        return PYTHON
    if importlib.util.find_spec("tritonclient") is None:
        pytest.skip(
            "no tritonclient here: pip install wintergarden[test], or set WINTERGARDEN_TRITON_PYTHON"
        )
    return sys.executable


def test_a_user_of_triton_changes_the_address_and_nothing_else(served, python, tmp_path):
    x = np.random.default_rng(3).standard_normal((1000, 1, 4), np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    address = f"127.0.0.1:{served.app.server.ports[0]}"
    ran = subprocess.run(
        [python, "-c", CLIENT, address, tmp_path / "x.npz", tmp_path / "y.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    session = served.world.session("classifier")
    with np.load(tmp_path / "y.npz") as answers:
        for i in range(1000):
            logits, probabilities = session.run({"x": x[i]})
            np.testing.assert_allclose(answers["logits"][i], logits, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(
                answers["probabilities"][i], probabilities, rtol=0, atol=1e-6
            )
