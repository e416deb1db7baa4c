"""Texts of many clients: written by the server in one batch, against clients that do it themselves.

A server process with step graphs of our own networks, of realistic size and with random weights;
one client process. Three ways to the same texts, in one interleaved run:

- `stream`: `client.generate`, an answer for each token of ModelStreamInfer;
- `steps`: a loop of unary calls with a `sequence_id`; the states stay at the server, the client
  chooses each token and sends it back;
- `prefix`: a loop of unary calls with all that is written so far, as one does without states.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from torch import nn

from trainer.decoding.parts import LOGITS, TOKEN, writer_parts
from trainer.export.graph import export_graph
from trainer.zoo.char_transformer import CharTransformer
from trainer.zoo.recurrent.heads import LanguageModel
from trainer.zoo.recurrent.layers import Recurrent
from wintergarden.client import Client, connect
from wintergarden.jobs.testing import free_port
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.store import ManifestFields, ModelStore, TensorInfo, open_store
from wintergarden.store.manifest import GenerationInfo, StateInfo
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

IDS, BEGIN, PROMPT, TOKENS, MANY, ROUNDS = 128, 2, 16, 64, 16, 3
FACTOR = 5.0
INFER = methods("inference.GRPCInferenceService")["ModelInfer"]
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: LanguageModel(IDS, 256, Recurrent("lstm", 256, 512, layers=2), 0.0),
    "gru": lambda: LanguageModel(IDS, 256, Recurrent("gru", 256, 512, layers=2), 0.0),
    "transformer": lambda: CharTransformer(
        IDS, embed_dim=256, num_heads=4, layers=4, feedforward_dim=1024, context=256
    ),
}


class Forced(nn.Module):
    """The logits of the last place alone, so that answers do not grow."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(tokens)[0][:, -1]
        return logits


def publish(folder: Path) -> None:
    """Each network's step graph and the graph of a whole prefix."""
    store = open_store(str(folder))
    torch.manual_seed(0)
    for name, make in NETWORKS.items():
        network = make().eval()
        parts = writer_parts(network)
        states = tuple(
            StateInfo(input=s.name, output=s.output, datatype=s.datatype, shape=s.shape)
            for s in parts.states
        )
        inputs = [TensorInfo(name=TOKEN, datatype="INT64", shape=(-1, 1))]
        inputs += [
            TensorInfo(name=s.input, datatype=s.datatype, shape=(-1, *s.shape)) for s in states
        ]
        outputs = [TensorInfo(name=LOGITS, datatype="FP32", shape=(-1, IDS))]
        outputs += [
            TensorInfo(name=s.output, datatype=s.datatype, shape=(-1, *s.shape)) for s in states
        ]
        with store.publish(name) as draft:
            draft.write("model.onnx", parts.step.SerializeToString())
            draft.commit(
                ManifestFields(
                    architecture=name,
                    task="language-modelling",
                    inputs=tuple(inputs),
                    outputs=tuple(outputs),
                    states=states,
                    generation=GenerationInfo(begin=BEGIN),
                )
            )
        tokens = torch.ones(2, 5, dtype=torch.int64)
        forced = export_graph(
            Forced(network).eval(), {"tokens": tokens}, {"tokens": (0, 1)}, (LOGITS,)
        )
        store.import_onnx(f"{name}-forced", forced.SerializeToString())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("generation")
    publish(folder)
    return open_store(str(folder))


@pytest.fixture(scope="module")
def address(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    command = [
        sys.executable, "-m", "services.inference", "--store-uri", store.uri,
        "--address", f"127.0.0.1:{port}", "--metrics-address", f"127.0.0.1:{free_port()}",
        "--device", "cpu",
    ]  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as server,
    ):
        try:
            with connect(f"127.0.0.1:{port}", retry_for_s=60) as client:
                for name in NETWORKS:
                    client.wait_until_served(name, version=1, timeout_s=60)
                    client.wait_until_served(f"{name}-forced", version=1, timeout_s=60)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


@dataclass
class Written:
    """Of one text."""

    first_s: float = 0.0
    tokens: int = 0


@dataclass
class Timed:
    """Of one way, over all rounds."""

    tokens_per_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)


Way = Callable[[Client, str, list[int], int], Written]
_sequence_ids = count(1)


def stream(client: Client, model: str, prompt: list[int], seed: int) -> Written:
    began, written = time.perf_counter(), Written()
    for _ in client.generate(model, prompt, max_tokens=TOKENS, seed=seed):
        written.first_s = written.first_s or time.perf_counter() - began
        written.tokens += 1
    return written


def by_steps(client: Client, model: str, prompt: list[int], seed: int) -> Written:
    sequence_id = next(_sequence_ids)

    def ask(text: list[int]) -> np.ndarray:
        request = _request(model, TOKEN, text[-1:])
        request.parameters["sequence_id"].int64_param = sequence_id
        request.parameters["sequence_start"].bool_param = len(text) == 1
        request.parameters["sequence_end"].bool_param = len(text) == PROMPT + TOKENS
        return _logits(client, request)

    began, text = time.perf_counter(), [BEGIN]
    for token in prompt:
        ask(text)
        text.append(token)
    return _loop(ask, text, seed, began)


def by_prefix(client: Client, model: str, prompt: list[int], seed: int) -> Written:
    def ask(text: list[int]) -> np.ndarray:
        return _logits(client, _request(f"{model}-forced", "tokens", text))

    return _loop(ask, [BEGIN, *prompt], seed, time.perf_counter())


def _loop(
    ask: Callable[[list[int]], np.ndarray], text: list[int], seed: int, began: float
) -> Written:
    written = Written()
    rng = np.random.default_rng(seed)
    for _ in range(TOKENS):
        logits = ask(text).astype(np.float64)
        weights = np.exp(logits - logits.max()).cumsum()
        text.append(int(np.searchsorted(weights, rng.random() * weights[-1])))
        written.first_s = written.first_s or time.perf_counter() - began
        written.tokens += 1
    return written


def _request(model: str, name: str, tokens: list[int]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype="INT64", shape=[1, len(tokens)])
    request.raw_input_contents.append(np.array(tokens, np.int64).tobytes())
    return request


def _logits(client: Client, request: pb.ModelInferRequest) -> np.ndarray:
    response = client._stubs[INFER](request, timeout=60)
    return np.frombuffer(response.raw_output_contents[0], np.float32)


WAYS: dict[str, Way] = {"stream": stream, "steps": by_steps, "prefix": by_prefix}


def at_once(clients: list[Client], way: Way, model: str, seed: int) -> tuple[float, list[Written]]:
    """Seconds until the last of them has its text."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(4, IDS, (len(clients), PROMPT - 1)).tolist()
    texts: list[Written] = []
    barrier = threading.Barrier(len(clients) + 1)

    def run(client: Client, prompt: list[int], number: int) -> None:
        barrier.wait()
        texts.append(way(client, model, prompt, number))

    threads = [
        threading.Thread(target=run, args=(client, prompt, seed + i))
        for i, (client, prompt) in enumerate(zip(clients, prompts, strict=True))
    ]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, texts


def step_ms(store: ModelStore, model: str, rows: int) -> float:
    """What the model itself takes for a step, without a server: the best of some."""
    artefact = store.fetch(model, 1)
    session = open_session(artefact.read("model.onnx"), RuntimeOptions(device="cpu"))
    states = [(state.input, state.output) for state in artefact.manifest.states]
    stepper = session.stepper(states, token=TOKEN, result=LOGITS, max_rows=rows)
    while not stepper.is_full:
        stepper.join()
    times = []
    for _ in range(20):
        began = time.perf_counter()
        stepper.step(np.full(rows, 5))
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


def measure(address: str, model: str) -> dict[tuple[str, int], Timed]:
    clients = [connect(address) for _ in range(MANY)]
    found: dict[tuple[str, int], Timed] = {(w, c): Timed() for w in WAYS for c in (1, MANY)}
    for way in WAYS.values():
        at_once(clients[:2], way, model, 0)  # warm connections
    for number in range(ROUNDS):
        for (name, concurrency), timed in found.items():
            seconds, texts = at_once(clients[:concurrency], WAYS[name], model, 100 * number)
            assert [text.tokens for text in texts] == [TOKENS] * concurrency
            timed.tokens_per_s.append(concurrency * TOKENS / seconds)
            timed.first_s += [text.first_s for text in texts]
    for client in clients:
        client.close()
    return found


@pytest.mark.parametrize("model", NETWORKS)
def test_texts_written_together(address: str, store: ModelStore, model: str) -> None:
    try:
        found = measure(address, model)
    except grpc.RpcError as error:
        raise AssertionError(error.details()) from error
    print(f"\n{model}: {TOKENS} tokens after {PROMPT}, median of {ROUNDS} rounds")
    print(f"{'way':8} {'clients':>8} {'tokens/s':>9} {'first token ms':>15}")
    rates = {}
    for (way, concurrency), timed in found.items():
        rates[way, concurrency] = statistics.median(timed.tokens_per_s)
        first_ms = 1e3 * statistics.median(timed.first_s)
        print(f"{way:8} {concurrency:8} {rates[way, concurrency]:9.0f} {first_ms:15.1f}")
    gain = rates["stream", MANY] / rates["stream", 1]
    print(f"{MANY} together write {gain:.1f} times what one writes alone (wanted: {FACTOR:g})")
    alone_ms, together_ms = step_ms(store, model, 1), step_ms(store, model, MANY)
    print(
        f"a step alone takes {alone_ms:.2f} ms, of {MANY} {together_ms:.2f} ms: the model itself "
        f"allows {MANY * alone_ms / together_ms:.1f} times"
    )
    for way in ("steps", "prefix"):
        assert rates["stream", 1] > rates[way, 1]
        assert rates["stream", MANY] > rates[way, MANY]
