"""Whole sequences from one graph are those of a plain loop, token for token.

The network is small enough to be written down twice, in PyTorch and in ONNX nodes, so that nothing
but the loop around it is under test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor

from trainer.decoding import compose, reference
from trainer.decoding.compose import (
    LENGTHS,
    LOG_PROBABILITIES,
    SCORES,
    TOKENS,
    compose_forced,
    compose_translator,
    compose_writer,
)
from trainer.decoding.network import MAX_WRITTEN, Marks, State
from trainer.decoding.nodes import Nodes, finish
from trainer.decoding.parts import ATTENTION, Parts
from trainer.decoding.randomness import seed_words, uniform, uniform_numbers
from trainer.decoding.reference import Sampling
from trainer.export.sequence_parity import check_writing
from wintergarden.runtime import RuntimeOptions, Session, open_session

HIDDEN, CLASSES, WIDTH = 6, 7, 3  # V and the size of a source's vectors
MARKS = Marks(begin=2, end=3)
MOST = 12
CPU = RuntimeOptions(device="cpu")


@dataclass(frozen=True)
class Toy:
    """h' = tanh(e(token) + W h); it looks at the source by h' and says U h' + V context."""

    embedding: Tensor
    hidden: Tensor
    query: Tensor
    read: Tensor
    context: Tensor
    memories = ("source_vectors",)
    states = (State("hidden", (HIDDEN,)), State("count", (1,), "INT64"))

    def memory(self, source: Tensor) -> tuple[Tensor, ...]:
        return (source,)

    def begin(self, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rows = len(memory[0])
        return torch.tanh(memory[0].sum(dim=1) @ self.query.T), self.states[1].zeros(rows)

    def step(
        self, token: Tensor, states: tuple[Tensor, ...], memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        hidden = torch.tanh(self.embedding[token[:, 0]] + states[0] @ self.hidden)
        weights = torch.softmax((memory[0] @ (hidden @ self.query)[..., None])[..., 0], dim=1)
        context = (weights[:, None] @ memory[0])[:, 0]
        logits = hidden @ self.read + context @ self.context
        return logits, (hidden, states[1] + 1), weights


class Alone:
    """The same with nothing to look at: a language model."""

    states = Toy.states

    def __init__(self, toy: Toy) -> None:
        self.toy = toy

    def step(self, token: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        hidden = torch.tanh(self.toy.embedding[token[:, 0]] + states[0] @ self.toy.hidden)
        return hidden @ self.toy.read, (hidden, states[1] + 1)


def toy(seed: int) -> Toy:
    generator = torch.Generator().manual_seed(seed)

    def weights(*shape: int) -> Tensor:
        return 1.5 * torch.randn(*shape, generator=generator)

    return Toy(
        weights(CLASSES, HIDDEN), 0.3 * weights(HIDDEN, HIDDEN), weights(HIDDEN, WIDTH),
        weights(HIDDEN, CLASSES), weights(WIDTH, CLASSES),
    )  # fmt: skip


def info(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])


def parts(network: Toy, *, is_alone: bool = False) -> Parts:
    nodes = Nodes()

    def constant(values: Tensor) -> str:
        return nodes.constant(values.numpy(), np.float32)

    one = nodes.constant([1])
    embedded = nodes("Gather", constant(network.embedding), nodes("Squeeze", "token", one))
    turned = nodes("MatMul", "hidden", constant(network.hidden))
    hidden = nodes("Tanh", nodes("Add", embedded, turned))
    logits = nodes("MatMul", hidden, constant(network.read))
    nodes.named(hidden, "next_hidden")
    nodes.named(nodes("Add", "count", nodes.constant(1)), "next_count")
    inputs = [info("token", TensorProto.INT64, 1), info("hidden", TensorProto.FLOAT, HIDDEN)]
    inputs.append(info("count", TensorProto.INT64, 1))
    outputs = [info("logits", TensorProto.FLOAT, CLASSES)]
    outputs.append(info("next_hidden", TensorProto.FLOAT, HIDDEN))
    outputs.append(info("next_count", TensorProto.INT64, 1))
    if is_alone:
        nodes.named(logits, "logits")
        return Parts(finish(nodes, inputs, outputs), Toy.states, None, (), False, CLASSES)
    vectors = info("source_vectors", TensorProto.FLOAT, "source", WIDTH)
    query = nodes(
        "Unsqueeze", nodes("MatMul", hidden, constant(network.query)), nodes.constant([2])
    )
    energies = nodes("Squeeze", nodes("MatMul", "source_vectors", query), nodes.constant([2]))
    weights = nodes("Softmax", energies, axis=1)
    looked = nodes("MatMul", nodes("Unsqueeze", weights, one), "source_vectors")
    told = nodes("MatMul", nodes("Squeeze", looked, one), constant(network.context))
    nodes.named(nodes("Add", logits, told), "logits")
    nodes.named(weights, ATTENTION)
    attention = info(ATTENTION, TensorProto.FLOAT, "source")
    step = finish(nodes, [*inputs, vectors], [*outputs, attention])

    nodes = Nodes()
    nodes.named("source", "source_vectors")
    total = nodes("ReduceSum", "source", nodes.constant([1]), keepdims=0)
    first = nodes("MatMul", total, nodes.constant(network.query.T.numpy(), np.float32))
    nodes.named(nodes("Tanh", first), "hidden")
    rows = nodes("Shape", "source", start=0, end=1)
    shape = nodes("Concat", rows, nodes.constant([1]), axis=0)
    nodes.named(nodes("Expand", nodes.constant(0), shape), "count")
    source = info("source", TensorProto.FLOAT, "source", WIDTH)
    encoder = finish(nodes, [source], [vectors, *inputs[1:]])
    return Parts(step, Toy.states, encoder, Toy.memories, True, CLASSES)


@cache
def translating(seed: int, width: int = 1, penalty: float = 0.0) -> Session:
    model = compose_translator(
        parts(toy(seed)), MARKS, MOST, beam_width=width, length_penalty=penalty
    )
    return open_session(model.SerializeToString(), CPU)


@cache
def writing(seed: int, marks: Marks = MARKS) -> Session:
    model = compose_writer(parts(toy(seed), is_alone=True), marks)
    return open_session(model.SerializeToString(), CPU)


def answers(session: Session, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    names = [output.name for output in session.outputs]
    return dict(zip(names, session.run(feeds), strict=True))


def sources(seed: int, rows: int, places: int) -> Tensor:
    return torch.randn(rows, places, WIDTH, generator=torch.Generator().manual_seed(seed))


def assert_same(got: dict[str, np.ndarray], said: reference.Said) -> None:
    assert got[TOKENS].tolist() == said.tokens.tolist()
    assert got[LENGTHS].tolist() == said.lengths.tolist()
    np.testing.assert_allclose(got[SCORES], said.scores.numpy(), atol=1e-4)
    if said.attention is not None:
        np.testing.assert_allclose(got[ATTENTION], said.attention.numpy(), atol=1e-5)


CALLS = st.tuples(st.integers(0, 5), st.integers(0, 99), st.integers(1, 5), st.integers(1, 9))


@settings(deadline=None, max_examples=40)
@given(CALLS)
def test_the_likeliest_tokens_are_those_of_the_loop(call: tuple[int, int, int, int]) -> None:
    network, seed, rows, places = call
    source = sources(seed, rows, places)
    said = reference.translate(toy(network), source, MARKS, MOST)
    assert_same(answers(translating(network), source=source.numpy()), said)


@settings(deadline=None, max_examples=40)
@given(CALLS, st.sampled_from([(2, 0.0), (4, 0.6), (4, 1.5)]))
def test_a_beam_search_is_that_of_the_loop(
    call: tuple[int, int, int, int], how: tuple[int, float]
) -> None:
    width, penalty = how
    network, seed, rows, places = call
    source = sources(seed, rows, places)
    said = reference.translate_by_beam(
        toy(network), source, MARKS, MOST, width=width, length_penalty=penalty
    )
    assert_same(answers(translating(network, width, penalty), source=source.numpy()), said)


def test_a_beam_of_all_finds_the_best_of_all_sequences() -> None:
    """Three tokens of seven: every sequence can be looked at."""
    network, source = toy(1), sources(4, 1, 3)
    model = compose_translator(parts(network), MARKS, 3, beam_width=CLASSES, length_penalty=0.0)
    session = open_session(model.SerializeToString(), CPU)
    memory = network.memory(source)
    best = -np.inf
    for tokens in product(range(CLASSES), repeat=3):
        states, score, last = network.begin(memory), 0.0, 2
        for token in tokens:
            logits, states, _ = network.step(torch.tensor([[last]]), states, memory)
            score += float(torch.log_softmax(logits, dim=1)[0, token])
            last = token
            if token == MARKS.end:
                break
        best = max(best, score)
    # Seven beams keep all first tokens, and the best seven of 49 ways hold the best sequence here.
    assert float(answers(session, source=source.numpy())[SCORES][0]) == pytest.approx(
        best, abs=1e-5
    )


def test_rows_do_not_depend_on_each_other() -> None:
    source = sources(7, 6, 5)
    for width in (1, 4):
        together = answers(translating(3, width), source=source.numpy())
        for number in range(6):
            alone = answers(translating(3, width), source=source[number : number + 1].numpy())
            length = int(alone[LENGTHS][0])
            assert together[LENGTHS][number] == length
            assert together[TOKENS][number, :length].tolist() == alone[TOKENS][0].tolist()
            assert not together[TOKENS][number, length:].any()
            assert not together[ATTENTION][number, length:].any()


def test_it_stops_when_all_rows_have_ended() -> None:
    lengths = set()
    for seed in range(20):
        got = answers(translating(seed % 6), source=sources(seed, 2, 4).numpy())
        assert got[TOKENS].shape[1] == got[LENGTHS].max()
        lengths.add(got[TOKENS].shape[1])
    assert min(lengths) < MOST, "no call ended early"
    assert MOST in lengths, "no call was cut off"


def test_forced_steps_say_what_the_loop_said() -> None:
    network, source = toy(2), sources(3, 4, 5)
    session = open_session(compose_forced(parts(network), MOST).SerializeToString(), CPU)
    said = reference.translate(network, source, MARKS, MOST)
    prefix = torch.cat([torch.full((4, 1), 2), said.tokens[:, :-1]], dim=1)
    got = answers(session, source=source.numpy(), prefix=prefix.numpy())
    assert got[LOG_PROBABILITIES].shape == (4, prefix.shape[1], CLASSES)
    picked = np.take_along_axis(got[LOG_PROBABILITIES], said.tokens.numpy()[..., None], 2)[..., 0]
    written = np.arange(prefix.shape[1]) < said.lengths.numpy()[:, None]
    np.testing.assert_allclose((picked * written).sum(axis=1), said.scores.numpy(), atol=1e-4)
    assert said.attention is not None
    there = written[..., None]
    np.testing.assert_allclose(got[ATTENTION] * there, said.attention.numpy(), atol=1e-5)


def test_forced_steps_have_no_loop_in_the_way_of_gradients() -> None:
    graph = compose_forced(parts(toy(0)), 4).graph
    assert {"Loop", "Scan", "If"}.isdisjoint(node.op_type for node in graph.node)
    assert len({tensor.name for tensor in graph.initializer}) == len(graph.initializer)


PROMPTS = st.lists(st.lists(st.integers(4, CLASSES - 1), max_size=5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(
    PROMPTS,
    st.builds(
        Sampling,
        max_tokens=st.integers(1, 8),
        temperature=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        top_k=st.integers(0, 4),
        top_p=st.sampled_from([0.2, 0.7, 1.0]),
        seed=st.integers(-(2**63), 2**63 - 1),
    ),
    st.sampled_from([MARKS, Marks(None, 3), Marks(2, None)]),
)
def test_texts_go_on_as_in_the_loop(
    prompts: list[list[int]], sampling: Sampling, marks: Marks
) -> None:
    """Prompts of different lengths, one of them perhaps empty, and every way to draw."""
    prompt = np.zeros((len(prompts), max(map(len, prompts))), np.int64)
    for row, own in zip(prompt, prompts, strict=True):
        row[: len(own)] = own
    said = reference.write(Alone(toy(1)), torch.from_numpy(prompt), marks, sampling)
    assert_same(answers(writing(1, marks), prompt=prompt, **fed(sampling)), said)


def assert_written(
    sampling: Sampling, prompt: list[int], as_by: Sampling, read: list[int], marks: Marks = MARKS
) -> None:
    """Graph and loop go on with a prompt as they do, told so, with what is to be read of it."""
    rows, wanted = np.array([prompt], np.int64), np.array([read], np.int64)
    said = reference.write(Alone(toy(0)), torch.from_numpy(wanted), marks, as_by)
    assert_same(answers(writing(0, marks), prompt=rows, **fed(sampling)), said)
    again = reference.write(Alone(toy(0)), torch.from_numpy(rows), marks, sampling)
    assert again.tokens.tolist() == said.tokens.tolist()


@pytest.mark.parametrize("marks", [MARKS, Marks(None, 3)])
@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ([4, 0, 5], [4]), ([0, 0, 4, 5], [0]), ([4, 5, 0, 0, 6], [4, 5]), ([0], []), ([], [0]),
    ],
)  # fmt: skip
def test_a_prompt_ends_where_padding_begins(
    prompt: list[int], read: list[int], marks: Marks
) -> None:
    drawn = Sampling(8, temperature=1.0, seed=3)
    assert_written(drawn, prompt, drawn, read, marks)


def test_the_proof_of_a_graph_tries_prompts_with_holes_and_without_tokens() -> None:
    inner, tried = writing(1, MARKS), []

    class Listening:
        outputs = inner.outputs

        def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            tried.append(feeds["prompt"])
            return inner.run(feeds)

    check_writing(Alone(toy(1)), Listening(), np.full((4, 12), 5), MARKS)
    assert any(prompt.shape[1] == 0 for prompt in tried)
    assert any((np.diff(prompt.astype(bool).astype(int)) > 0).any() for prompt in tried)


@pytest.mark.parametrize(
    ("asked", "most"),
    [(0, 1), (-5, 1), (-(2**63), 1), (10**9, MAX_WRITTEN), (2**63 - 1, MAX_WRITTEN)],
)
def test_what_is_asked_for_is_within_bounds(asked: int, most: int) -> None:
    """The text ends early: of the largest numbers, nothing overflows."""
    prompt = [4, 5, 6, 4, 5]
    assert_written(Sampling(asked, seed=3), prompt, Sampling(most, seed=3), prompt)


def test_a_text_without_an_end_ends_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (compose, reference):
        monkeypatch.setattr(module, "MAX_WRITTEN", 20)
    marks, sampling = Marks(2, None), Sampling(10**9)
    model = compose_writer(parts(toy(1), is_alone=True), marks)
    session = open_session(model.SerializeToString(), CPU)
    prompt = np.array([[4, 5], [6, 0]])
    got = answers(session, prompt=prompt, **fed(sampling))
    assert got[LENGTHS].tolist() == [20, 20]
    assert_same(got, reference.write(Alone(toy(1)), torch.from_numpy(prompt), marks, sampling))


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(8, temperature=np.nan, seed=1),
        Sampling(8, temperature=1.0, top_p=np.nan, seed=1),
        Sampling(8, temperature=np.nan, top_p=np.nan, top_k=2, seed=1),
    ],
)
def test_what_is_no_number_takes_the_likeliest_token(sampling: Sampling) -> None:
    assert_written(sampling, [4, 5], Sampling(8), [4, 5])


def fed(sampling: Sampling) -> dict[str, np.ndarray]:
    return {
        "max_tokens": np.array([sampling.max_tokens]),
        "temperature": np.array([sampling.temperature], np.float32),
        "top_k": np.array([sampling.top_k]),
        "top_p": np.array([sampling.top_p], np.float32),
        "seed": np.array([sampling.seed]),
    }


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.6, 0, 1.0), (2.0, 3, 1.0), (1.5, 0, 0.8)]
)
def test_tokens_are_drawn_as_often_as_they_are_likely(
    temperature: float, top_k: int, top_p: float
) -> None:
    """Pearson's chi-square over 20 000 first tokens, of a fixed seed."""
    network, rows = Alone(toy(5)), 20_000
    logits, _ = network.step(torch.tensor([[2]]), tuple(s.zeros(1) for s in network.states))
    shares = torch.softmax(logits[0].double() / temperature, dim=0).numpy()
    order = np.argsort(-shares)
    kept = np.zeros(CLASSES, bool)
    total, wanted = 0.0, 1.0
    if top_k:
        wanted = shares[order[:top_k]].sum()
        kept[order[:top_k]] = True
    else:
        for token in order:  # the fewest whose shares reach top_p
            if total >= top_p:
                break
            kept[token], total = True, total + shares[token]
        wanted = shares[kept].sum()
    expected = np.where(kept, shares / wanted, 0.0) * rows
    sampling = Sampling(1, temperature, top_k, top_p, seed=11)
    got = answers(writing(5), prompt=np.zeros((rows, 1), np.int64), **fed(sampling))
    counts = np.bincount(got[TOKENS][:, 0], minlength=CLASSES)
    assert not counts[~kept].any()
    statistic = float((((counts - expected) ** 2)[kept] / expected[kept]).sum())
    assert statistic < 22.5  # of six degrees of freedom, once in a thousand is beyond


def test_random_numbers_of_the_graph_are_those_of_the_formula() -> None:
    nodes = Nodes()
    words = seed_words(nodes, "seed", nodes.constant(4))
    nodes.named(uniform(nodes, words, "step"), "numbers")
    model = finish(
        nodes,
        [
            helper.make_tensor_value_info("seed", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [4])],
    )
    session = open_session(model.SerializeToString(), CPU)
    for seed, step in product([0, 1, -1, 2**63 - 1, -(2**63), 1 << 40], [0, 1, 1000]):
        (got,) = session.run({"seed": np.array([seed]), "step": np.array(step)})
        assert got.tolist() == uniform_numbers(seed, 4, step).tolist()


def test_random_numbers_look_random() -> None:
    """Even over the interval, and neither neighbouring seeds, rows nor steps go together."""
    numbers = np.stack(
        [[uniform_numbers(seed, 64, step) for step in range(32)] for seed in range(32)]
    ).astype(float)  # (seeds, steps, rows)
    assert 0 <= numbers.min() < numbers.max() < 1
    counts = np.histogram(numbers, bins=64, range=(0, 1))[0]
    expected = numbers.size / 64
    assert (((counts - expected) ** 2) / expected).sum() < 103.4  # 63 degrees of freedom, 0.1 %
    for axis in range(3):
        near = np.corrcoef(
            numbers.take(range(numbers.shape[axis] - 1), axis).ravel(),
            numbers.take(range(1, numbers.shape[axis]), axis).ravel(),
        )[0, 1]
        assert abs(near) < 0.015  # 3.8 standard errors
