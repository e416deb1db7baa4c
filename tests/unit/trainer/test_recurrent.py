"""Recurrent layers and the networks made of them, against PyTorch's own, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.data.dataset import Dataset, DatasetInfo, Split
from trainer.decoding.network import Translator, Writer
from trainer.export.graph import export_graph
from trainer.export.parity import Parity
from trainer.recipes.evaluation import evaluate
from trainer.recipes.supervised import train
from trainer.recipes.text import tokenised
from trainer.recipes.trained import prepare
from trainer.recipes.watcher import Checkpointable, Stopped, Watcher
from trainer.state_file import pack, unpack
from trainer.zoo.recurrent.heads import EncoderDecoder, LanguageModel, Tagger, lengths
from trainer.zoo.recurrent.layers import Cell, Recurrent, top
from trainer.zoo.recurrent.onnx import OnnxRecurrent, exportable
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument
from wintergarden.runtime import RuntimeOptions, Session, open_session

CELLS: tuple[Cell, ...] = get_args(Cell)
STATES = ("hidden", "cell")
KINDS = [(cell, both) for cell in CELLS for both in (False, True)]


def layers(cell: Cell, *, both: bool, seed: int = 0) -> Recurrent:
    torch.manual_seed(seed)
    return Recurrent(cell, 3, 4, layers=2, bidirectional=both, dropout=0.5).eval()


@pytest.mark.parametrize(("cell", "both"), KINDS)
def test_a_row_is_read_as_if_it_were_alone(cell: Cell, both: bool) -> None:
    recurrent, x = layers(cell, both=both), torch.randn(3, 6, 3)
    sizes = [6, 1, 4]
    with torch.no_grad():
        outputs, states = recurrent(x, torch.tensor(sizes))
        for row, length in enumerate(sizes):
            alone, last = recurrent.layers(x[row : row + 1, :length])
            torch.testing.assert_close(outputs[row, :length], alone[0])
            assert not outputs[row, length:].any()
            hidden = last[0] if isinstance(last, tuple) else last
            torch.testing.assert_close(states[0][row], hidden[:, 0])
    assert states[0].shape == (3, *recurrent.state_shape)
    assert len(states) == len(recurrent.state_names)
    ends = [outputs[row, length - 1, :4] for row, length in enumerate(sizes)]
    torch.testing.assert_close(top(states, recurrent.directions)[:, :4], torch.stack(ends))


@pytest.mark.parametrize("cell", CELLS)
def test_states_go_on_where_they_ended(cell: Cell) -> None:
    recurrent, x = layers(cell, both=False), torch.randn(2, 7, 3)
    with torch.no_grad():
        whole, _ = recurrent(x)
        first, states = recurrent(x[:, :3])
        second, _ = recurrent(x[:, 3:], states=states)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


class All(nn.Module):
    """One of every kind, with states to go on from: one export for all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(9, 3)
        self.layers = nn.ModuleList(
            Recurrent(cell, 3, 4, layers=2, bidirectional=both) for cell, both in KINDS
        )

    def forward(self, ids: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        x, answers = self.embedding(ids), []
        for layer in self.layers:
            recurrent: Any = layer  # the exporter's copy has another class
            count = recurrent.state_shape[0]
            begun = (hidden[:, :count], cell[:, :count])[: len(recurrent.state_names)]
            outputs, ended = recurrent(x, lengths(ids), begun)
            answers += [outputs, *ended]
        return tuple(answers)


NAMES = [
    f"{cell}-{both}-{name}"
    for cell, both in KINDS
    for name in ("outputs", "hidden", "cell")[: 3 if cell == "lstm" else 2]
]


@pytest.fixture(scope="module")
def exported() -> tuple[All, Session]:
    network = All().eval()
    examples = {"ids": torch.randint(2, 9, (2, 5)), **{n: torch.zeros(2, 4, 4) for n in STATES}}
    model = export_graph(network, examples, {"ids": (0, 1), "hidden": (0,), "cell": (0,)}, NAMES)
    kinds = [node.op_type for node in model.graph.node]
    assert [kinds.count(kind) for kind in ("RNN", "LSTM", "GRU")] == [4, 4, 4]
    return network, open_session(model.SerializeToString(), RuntimeOptions(device="cpu"))


@given(st.sampled_from([1, 2, 7]), st.sampled_from([1, 2, 5, 33]), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_the_graph_computes_what_the_packed_layers_do(
    exported: tuple[All, Session], rows: int, length: int, seed: int
) -> None:
    network, session = exported
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 9, (rows, length), generator=generator)
    for row in range(1, rows):  # texts of any length, one of them none
        ids[row, int(torch.randint(0, length + 1, (1,), generator=generator)) :] = 0
    states = [torch.randn(rows, 4, 4, generator=generator) for _ in STATES]
    feeds = {"ids": ids.numpy(), **{n: s.numpy() for n, s in zip(STATES, states, strict=True)}}
    with torch.no_grad():
        expected = network(ids, *states)
    parity = Parity()
    for name, wanted, got in zip(NAMES, expected, session.run(feeds), strict=True):
        assert wanted.shape == got.shape
        parity.add(name, wanted.numpy(), got)
    assert parity.worst < 1e-5


def test_only_what_is_recurrent_is_copied_for_the_exporter() -> None:
    plain = nn.Linear(2, 2)
    assert exportable(plain) is plain
    tagger = Tagger(9, 3, layers("gru", both=True), 2, 0.0)
    copied = exportable(tagger)
    assert isinstance(tagger.recurrent, Recurrent)
    assert isinstance(copied.recurrent, OnnxRecurrent)
    assert isinstance(exportable(tagger.recurrent), OnnxRecurrent)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_at_a_time_is_the_whole(cell: Cell) -> None:
    torch.manual_seed(2)
    model = LanguageModel(9, 3, Recurrent(cell, 3, 4, layers=2), 0.0).eval()
    both = EncoderDecoder(
        9, 8, 3, cell=cell, hidden_size=4, layers=2, bidirectional=True, dropout=0.0
    ).eval()
    assert isinstance(model, Writer)
    assert isinstance(both, Translator)
    ids = torch.tensor([[2, 5, 6, 7], [2, 4, 4, 3]])
    source = torch.tensor([[4, 5, 8], [4, 0, 0]])
    with torch.no_grad():
        whole, _ = model(ids)
        states = tuple(state.zeros(2) for state in model.states)
        memory = both.memory(source)
        forced, begun = both(source, ids), both.begin(memory)
        for place in range(4):
            logits, states = model.step(ids[:, place : place + 1], states)
            torch.testing.assert_close(logits, whole[:, place])
            written, begun, _ = both.step(ids[:, place : place + 1], begun, memory)
            torch.testing.assert_close(written, forced[:, place])


def test_a_document_begins_with_nothing_in_mind() -> None:
    model = LanguageModel(9, 3, layers("lstm", both=False), 0.0).eval()
    states = (torch.randn(2, 2, 4), torch.randn(2, 2, 4))
    ids = torch.tensor([[2, 5], [6, 5]])
    with torch.no_grad():
        logits, _ = model(ids, states)
        fresh, _ = model(ids)
    torch.testing.assert_close(logits[0], fresh[0])
    assert not torch.allclose(logits[1], fresh[1])


INFO = DatasetInfo(
    name="counting", summary="digits", source="here", task="language-modelling",
    input_name="text", input_shape=(), units="text", value_range=None, class_labels=(),
    split_sizes={"train": 6, "validation": 1, "test": 1}, is_verbatim=True,
)  # fmt: skip


def counting() -> Dataset:
    texts = np.array([("0123456789" * 9)[i : i + 40 + 7 * i] for i in range(6)], dtype=object)
    labels = np.zeros(6, np.int64)
    one = Split(texts[3:4], labels[:1])
    return Dataset(INFO, Split(texts, labels), one, one)


def chosen(**values: Any) -> Any:
    defaults = {"hidden_size": 12, "embed_dim": 6, "piece_tokens": 8, "batch_size": 3, "epochs": 12}
    return find("gru").hyperparameters.parse({**defaults, **values})


def test_what_is_measured_in_pieces_is_that_of_whole_documents() -> None:
    hyperparameters = chosen(dropout=0.0)
    trained = prepare(find("gru"), hyperparameters, counting(), 0)
    found = evaluate(trained, trained.dataset.train)
    whole = tokenised(counting(), chosen(piece_tokens=1000)).train
    with torch.no_grad():
        logits, _ = trained.network(torch.from_numpy(whole.inputs))
    targets = torch.from_numpy(whole.labels)
    expected = nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=0)
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_a_language_is_learnt_and_a_training_goes_on_in_the_middle_of_documents() -> None:
    hyperparameters = chosen(learning_rate=0.03)
    whole = train(find("gru"), hyperparameters, counting(), 3)
    assert whole.history[-1]["validation_accuracy"] > 0.9
    assert evaluate(whole, whole.dataset.test)["bits_per_character"] < 0.7
    kept: list[bytes] = []

    def stop(training: Checkpointable, is_last: bool) -> None:
        if is_last:
            kept.append(pack(training.state_dict()))

    def halt(step: int, steps: int) -> None:
        if step == steps // 2 + 1:
            raise Stopped("here")

    watcher = replace(Watcher(), on_step=halt, on_checkpoint=stop)
    with pytest.raises(Stopped):
        train(find("gru"), hyperparameters, counting(), 3, watcher)
    state = unpack(kept[0])[1]
    assert state["batch"] > 0
    assert state["carried"][0].any()
    resumed = train(find("gru"), hyperparameters, counting(), 3, state=state)
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_several_processes_cannot_carry_states() -> None:
    from trainer.recipes.ranks import Ranks

    ranks = Ranks()
    ranks.count = 3
    with pytest.raises(InvalidArgument, match="3 processes: only one can learn a language"):
        train(find("gru"), chosen(), counting(), 0, ranks=ranks)
