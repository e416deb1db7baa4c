"""Whatever clients do at the same moment, each is told what it would be told alone.

The model's state is a hash of all its own tokens: one token of somebody else's text, one that is
lost, or a state that was not new, and everything that follows is another text.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference.generation.sampling import Sampling
from tests.contract.open_inference import hash_writer
from tests.contract.open_inference.conftest import World
from tests.contract.open_inference.test_generation import (
    LIMIT_S,
    asking,
    publish,
    stream,
    tokens_of,
    told,
)

ROWS = 4


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("mixing"), "native")
    publish(world)
    # Fewer rows than clients, so that rows are left and taken all the time.
    _, client = world.serve(max_batch_rows=ROWS)
    yield world, client
    world.close()


@dataclass(frozen=True)
class Client:
    """One text that is asked for, and what becomes of it."""

    prompt: str
    max_tokens: int
    sampling: Sampling
    fate: str
    patience: int  # tokens it reads before it leaves

    @property
    def request(self):
        return asking(
            self.prompt,
            max_tokens=[self.max_tokens],
            temperature=np.float32([self.sampling.temperature]),
            top_k=[self.sampling.top_k],
            top_p=np.float32([self.sampling.top_p]),
            seed=[self.sampling.seed],
        )

    @property
    def expected(self):
        return hash_writer.expected(self.prompt, self.max_tokens, self.sampling)


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    top_k=st.sampled_from([0, 1, 5]),
    top_p=st.sampled_from([0.25, 0.75, 1.0]),
    seed=st.integers(0, 2**62),
)
clients = st.builds(
    Client,
    prompt=st.text(hash_writer.CHARACTERS, max_size=12),
    max_tokens=st.integers(1, 40),
    sampling=samplings,
    fate=st.sampled_from(["reads", "reads", "whole", "cancels", "expires", "reconnects"]),
    patience=st.integers(0, 5),
)


def live(world, stub, client):
    """What the client was told before its fate overtook it, and whether that must be all."""
    match client.fate:
        case "whole":
            return told(world, stub.ModelInfer(client.request, timeout=LIMIT_S))[1], True
        case "reads":
            return tokens_of(world, stream(stub, client.request)), True
        case "expires":
            return partly(world, stream(stub, client.request, timeout=0.004)), False
    call = stream(stub, client.request)
    some = partly(world, islice(call, client.patience))
    call.cancel()
    if client.fate == "cancels":
        return some, False
    again = tokens_of(world, stream(stub, client.request))  # at once, and from the beginning
    assert again[: len(some)] == some
    return again, True


def partly(world, answers):
    tokens = []
    with suppress(grpc.RpcError):
        for answer in answers:
            if answer.error_message:  # the server saw the deadline first
                break
            tokens += told(world, answer.infer_response)[1]
    return tokens


def together(jobs):
    """Runs them at the same moment and raises what went wrong in any."""
    results, errors = [None] * len(jobs), queue.Queue()
    barrier = threading.Barrier(len(jobs))

    def run(number, job):
        try:
            barrier.wait(LIMIT_S)
            results[number] = job()
        except BaseException as error:
            errors.put(error)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    if not errors.empty():
        raise errors.get()
    return results


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(clients, min_size=2, max_size=12))
def test_no_text_ever_meets_the_states_of_another(writer, everybody):
    world, stub = writer
    lives = together([lambda c=c: live(world, stub, c) for c in everybody])
    for client, (tokens, is_whole) in zip(everybody, lives, strict=True):
        expected = client.expected
        assert tokens == (expected if is_whole else expected[: len(tokens)]), client


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    texts=st.lists(
        st.lists(st.integers(0, hash_writer.WIDTH - 1), min_size=1, max_size=8),
        min_size=2,
        max_size=6,
    ),
    readers=st.lists(clients, min_size=1, max_size=4),
)
def test_sequences_and_texts_of_one_model_keep_apart(writer, texts, readers):
    """Steps of sequences beside texts, on the same graph; each sequence id is used again."""
    world, stub = writer

    def steps(number, tokens):
        state = 0
        for place, token in enumerate(tokens):
            request = world.request("writer", {"token": np.array([[token]], np.int64)})
            request.parameters["sequence_id"].string_param = f"client {number}"
            request.parameters["sequence_start"].bool_param = place == 0
            logits, state = hash_writer.step(token, state)
            answer = world.arrays(stub.ModelInfer(request, timeout=LIMIT_S))
            np.testing.assert_array_equal(answer["logits"][0], logits)
        return tokens, True

    jobs = [lambda n=n, t=t: steps(n, t) for n, t in enumerate(texts)]
    jobs += [lambda c=c: live(world, stub, c) for c in readers]
    lives = together(jobs)[len(texts) :]
    for client, (tokens, is_whole) in zip(readers, lives, strict=True):
        assert tokens == (client.expected if is_whole else client.expected[: len(tokens)])
