"""Many requests at once over one client and over several; everyone gets their own rows.

python use_tritonclient_concurrently.py HOST:PORT
"""

import queue
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]
THREADS, REQUESTS = 8, 150


def tensor(name, array, datatype):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def pair(rng, model):
    """A request of one to eight rows, and what it must be answered with."""
    a, b = rng.integers(-60, 60, (2, rng.integers(1, 9), 16))
    if model == "simple_string":
        text = [np.array([[str(v).encode() for v in row] for row in m], object) for m in (a, b)]
        inputs = [tensor(f"INPUT{i}", t, "BYTES") for i, t in enumerate(text)]
        return inputs, a + b, a - b
    datatype, dtype = ("INT8", np.int8) if model == "simple_int8" else ("INT32", np.int32)
    inputs = [tensor(f"INPUT{i}", m.astype(dtype), datatype) for i, m in enumerate((a, b))]
    return inputs, a + b, a - b


def check(result, total, difference):
    for name, expected in (("OUTPUT0", total), ("OUTPUT1", difference)):
        got = result.as_numpy(name).astype(np.int64)
        assert np.array_equal(got, expected), (got, expected)


def in_turn(seed):
    """A client of its own that waits for each answer."""
    rng = np.random.default_rng(seed)
    with triton.InferenceServerClient(ADDRESS) as client:
        for _ in range(REQUESTS):
            model = str(rng.choice(["simple", "simple_int8", "simple_string"]))
            inputs, total, difference = pair(rng, model)
            check(client.infer(model, inputs), total, difference)


def all_at_once(seed):
    """Hundreds in flight on one connection; every ninth is wrong, and fails alone."""
    rng = np.random.default_rng(seed)
    done = queue.Queue()
    expected = {}
    with triton.InferenceServerClient(ADDRESS) as client:
        for number in range(2 * REQUESTS):
            inputs, *expected[number] = pair(rng, "simple")
            if number % 9 == 0:
                inputs = inputs[:1]
            client.async_infer(
                "simple",
                inputs,
                callback=lambda result, error, number=number: done.put((number, result, error)),
                request_id=str(number),
            )
        for _ in expected:
            number, result, error = done.get(timeout=60)
            if number % 9 == 0:
                assert isinstance(error, InferenceServerException), number
                assert error.status() == "StatusCode.INVALID_ARGUMENT", error
            else:
                assert error is None, error
                assert result.get_response().id == str(number)
                check(result, *expected[number])


with ThreadPoolExecutor(2 * THREADS) as threads:
    running = [threads.submit(in_turn, seed) for seed in range(THREADS)]
    running += [threads.submit(all_at_once, THREADS + seed) for seed in range(2)]
    for future in running:
        future.result()
