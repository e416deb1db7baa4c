"""What a user of Triton does, on the address given; answers to random requests go to a file.

python use_tritonclient.py HOST:PORT REQUESTS.npz ANSWERS.npz
"""

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
    (x,) = metadata.inputs
    assert (x.name, x.datatype, list(x.shape)) == ("x", "FP32", [-1, 4])
    assert [o.name for o in metadata.outputs] == ["logits", "probabilities"]
    ready = {m.name for m in client.get_model_repository_index().models if m.state == "READY"}
    assert {"classifier", "sum", "echo"} <= ready

    texts = np.array([[b"winter"], ["Gärten".encode()]], dtype=object)
    echoed = client.infer("echo", [tensor("x", texts, "BYTES")]).as_numpy("y")
    assert echoed.tolist() == texts.tolist(), echoed

    wanted = [triton.InferRequestedOutput("probabilities")]
    x = [tensor("x", requests[0], "FP32")]
    subset = client.infer(
        "classifier", x, outputs=wanted, request_id="r1", priority=1, timeout=1_000_000
    )
    assert subset.get_response().id == "r1"
    assert subset.as_numpy("logits") is None and subset.as_numpy("probabilities") is not None

    wide = requests[0].astype(np.float64)
    for model, inputs, status in (
        ("nobody", x, "StatusCode.NOT_FOUND"),
        ("classifier", [tensor("y", requests[0], "FP32")], "StatusCode.INVALID_ARGUMENT"),
        ("classifier", [tensor("x", wide, "FP64")], "StatusCode.INVALID_ARGUMENT"),
    ):
        try:
            client.infer(model, inputs)
        except InferenceServerException as error:
            assert error.status() == status, error
        else:
            raise AssertionError(model)

    answers = [client.infer("classifier", [tensor("x", r, "FP32")]) for r in requests]
    np.savez(
        target,
        logits=np.stack([a.as_numpy("logits") for a in answers]),
        probabilities=np.stack([a.as_numpy("probabilities") for a in answers]),
    )
