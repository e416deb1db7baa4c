"""Streams: many requests in flight, errors in between, and models that answer several times.

python use_tritonclient_streams.py HOST:PORT
"""

import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]
NUMBER = 300


def tensor(name, array, datatype):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def identity(number):
    return [tensor("INPUT0", np.full((1, 3), number, np.int32), "INT32")]


def many_in_flight(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(NUMBER):
        is_wrong = number % 50 == 7
        model = "nobody" if is_wrong else "custom_identity_int32"
        client.async_stream_infer(model, identity(number), request_id=str(number))
    right, errors = {}, 0
    for _ in range(NUMBER):
        result, error = answers.get(timeout=30)
        if error:
            errors += 1
        else:
            right[int(result.get_response().id)] = result.as_numpy("OUTPUT0")
    client.stop_stream()
    assert errors == sum(n % 50 == 7 for n in range(NUMBER)), errors
    assert set(right) == {n for n in range(NUMBER) if n % 50 != 7}
    assert all((array == n).all() for n, array in right.items())


def strict(client):
    """With the header, an error ends the stream, as a status."""
    answers = queue.Queue()
    client.start_stream(
        lambda result, error: answers.put((result, error)), headers={"triton_grpc_error": "true"}
    )
    client.async_stream_infer("nobody", identity(1))
    result, error = answers.get(timeout=30)
    assert isinstance(error, InferenceServerException), result
    assert error.status() == "StatusCode.NOT_FOUND", error
    client.stop_stream()


def decoupled(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for count in (5, 0, 3):
        inputs = [
            tensor("IN", np.arange(count, dtype=np.int32), "INT32"),
            tensor("DELAY", np.zeros(count, np.uint32), "UINT32"),
            tensor("WAIT", np.zeros(1, np.uint32), "UINT32"),
        ]
        client.async_stream_infer(
            "repeat_int32", inputs, request_id=str(count), enable_empty_final_response=True
        )
    values, finals = {"5": [], "0": [], "3": []}, []
    while len(finals) < 3:
        result, error = answers.get(timeout=30)
        assert error is None, error
        response = result.get_response()
        if response.parameters["triton_final_response"].bool_param:
            finals.append(response.id)
            assert not response.outputs, response
        else:
            values[response.id].append(int(result.as_numpy("OUT").item()))
    client.stop_stream()
    assert values == {"5": [0, 1, 2, 3, 4], "0": [], "3": [0, 1, 2]}, values
    assert sorted(finals) == ["0", "3", "5"]
    # A model that may answer any number of times cannot do so to a call that has one answer.
    try:
        client.infer("repeat_int32", inputs)
    except InferenceServerException as error:
        assert error.status() == "StatusCode.UNIMPLEMENTED", error
    else:
        raise AssertionError("a decoupled model answered a unary call")


with triton.InferenceServerClient(ADDRESS) as client:
    for subject in (many_in_flight, strict, decoupled, many_in_flight):
        subject(client)
