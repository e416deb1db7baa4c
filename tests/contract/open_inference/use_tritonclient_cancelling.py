"""Callers that leave, and callers whose time is up, while another request runs.

python use_tritonclient_cancelling.py HOST:PORT
"""

import queue
import sys
import time

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

LONG = 5_000_000  # steps: about two seconds
NUMBER = 40


def request(steps):
    made = triton.InferInput("INPUT0", [1, 1], "INT32")
    made.set_data_from_numpy(np.array([[steps]], np.int32))
    return [made]


def statistics():
    (told,) = client.get_inference_statistics("slow_identity").model_stats
    return told


def start(done, steps, **options):
    return client.async_infer(
        "slow_identity",
        request(steps),
        callback=lambda result, error: done.put((result, error)),
        **options,
    )


with triton.InferenceServerClient(sys.argv[1]) as client:
    before = statistics()
    first, cancelled, expired, refused = (queue.Queue() for _ in range(4))
    start(first, LONG)
    time.sleep(0.2)  # it runs

    calls = [start(cancelled, 1) for _ in range(NUMBER)]
    for _ in range(NUMBER):
        start(expired, 1, client_timeout=0.5)
        # A time limit of the protocol, in microseconds: refused while the first one runs.
        start(refused, 1, timeout=100_000)
    time.sleep(0.3)  # they have arrived
    for call in calls:
        call.cancel()
    for done, status in ((cancelled, "CANCELLED"), (expired, "DEADLINE_EXCEEDED")):
        for _ in range(NUMBER):
            result, error = done.get(timeout=10)
            assert result is None, result
            assert error.status() == f"StatusCode.{status}", error
    for _ in range(NUMBER):
        result, error = refused.get(timeout=10)
        assert isinstance(error, InferenceServerException), result
        assert error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"), error
    assert first.empty(), "the others had to wait for the first"

    result, error = first.get(timeout=60)
    assert error is None, error
    assert result.as_numpy("OUTPUT0").item() == LONG

    # One who cancels a running request is rid of it at once; the next is answered.
    running = queue.Queue()
    call = start(running, LONG)
    time.sleep(0.2)
    call.cancel()
    result, error = running.get(timeout=1)
    assert error.status() == "StatusCode.CANCELLED", error
    assert client.infer("slow_identity", request(1)).as_numpy("OUTPUT0").item() == 1

    # A stream that is closed with its requests under way, and one after it.
    for _ in range(2):
        streamed = queue.Queue()
        client.start_stream(lambda result, error, streamed=streamed: streamed.put((result, error)))
        for _ in range(NUMBER):
            client.async_stream_infer("slow_identity", request(1))
        client.async_stream_infer("slow_identity", request(LONG))
        result, error = streamed.get(timeout=10)
        assert error is None, error
        client.stop_stream(cancel_requests=True)
    assert client.infer("slow_identity", request(1)).as_numpy("OUTPUT0").item() == 1

    # Nobody waited for 3 * NUMBER requests, and none of them was run.
    runs = statistics().inference_count - before.inference_count
    assert runs <= 4 + 2 * (NUMBER + 1), runs
    assert statistics().inference_stats.fail.count >= 3 * NUMBER
