"""Sequences side by side, by number and by text; their states never meet.

python use_tritonclient_sequences.py HOST:PORT
"""

import queue
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]
SUM = "simple_string_dyna_sequence"  # the sum of its values so far; its number on top at the end
THREADS, SEQUENCES, LENGTH = 6, 5, 12


def value(number):
    made = triton.InferInput("INPUT", [1, 1], "INT32")
    made.set_data_from_numpy(np.array([[number]], np.int32))
    return [made]


def of(result):
    return int(result.as_numpy("OUTPUT").item())


def side_by_side(thread):
    """Several sequences of one client, a value of each in turn."""
    rng = np.random.default_rng(thread)
    with triton.InferenceServerClient(ADDRESS) as client:
        for names in (range(1 + 100 * thread, 1 + 100 * thread + SEQUENCES),):
            sums = dict.fromkeys(names, 0)
            for step in range(LENGTH):
                for name in names:
                    number = int(rng.integers(-1000, 1000))
                    sums[name] += number
                    is_end = step == LENGTH - 1
                    result = client.infer(
                        SUM,
                        value(number),
                        sequence_id=str(name),
                        sequence_start=step == 0,
                        sequence_end=is_end,
                    )
                    assert of(result) == sums[name] + name * is_end, (name, step)


def on_a_stream():
    answers = queue.Queue()
    names = [str(uuid.uuid4()) for _ in range(4)]
    with triton.InferenceServerClient(ADDRESS) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for step in range(LENGTH):
            for name in names:
                client.async_stream_infer(
                    "simple_sequence",
                    value(step),
                    request_id=f"{name}/{step}",
                    sequence_id=name,
                    sequence_start=step == 0,
                    sequence_end=step == LENGTH - 1,
                )
        got = {name: [] for name in names}
        for _ in range(len(names) * LENGTH):
            result, error = answers.get(timeout=30)
            assert error is None, error
            name, step = result.get_response().id.split("/")
            assert len(got[name]) == int(step), "answers of a sequence come in its order"
            got[name].append(of(result))
        client.stop_stream()
    for values in got.values():
        assert values == [1, *range(1, LENGTH)], values


def faults():
    with triton.InferenceServerClient(ADDRESS) as client:
        for options, what in (
            ({}, "a request without a sequence"),
            ({"sequence_id": 9999}, "a sequence that never started"),
        ):
            try:
                client.infer(SUM, value(1), **options)
            except InferenceServerException as error:
                assert error.status() == "StatusCode.INVALID_ARGUMENT", (what, error)
            else:
                raise AssertionError(f"{what} was answered")
        # A new start forgets what was; so does an end.
        begin, end = {"sequence_start": True}, {"sequence_end": True}
        assert of(client.infer(SUM, value(5), sequence_id="7", **begin)) == 5
        assert of(client.infer(SUM, value(1), sequence_id="7", **begin)) == 1
        assert of(client.infer(SUM, value(1), sequence_id="7", **end)) == 2 + 7
        assert of(client.infer(SUM, value(3), sequence_id="7", **begin, **end)) == 3 + 7


with ThreadPoolExecutor(THREADS + 1) as threads:
    running = [threads.submit(side_by_side, thread) for thread in range(1, THREADS + 1)]
    running.append(threads.submit(on_a_stream))
    for future in running:
        future.result()
faults()
