"""The family of a language model: whole texts, what it is told, and one step at a time.

NAME          prompt, max_tokens, temperature, top_k, top_p, seed → tokens, lengths, scores
NAME.forced   tokens → log_probabilities; what is explained
NAME.step     token, states → logits, states; what is streamed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from trainer.data.dataset import Array
from trainer.decoding import reference
from trainer.decoding.compose import (
    LENGTHS,
    LOG_PROBABILITIES,
    PROMPT,
    SCORES,
    TOKENS,
    compose_writer,
)
from trainer.decoding.network import MAX_WRITTEN, Marks, Writer
from trainer.decoding.parts import LOGITS, TOKEN, Parts, writer_parts
from trainer.decoding.reference import Sampling
from trainer.export.charts import learning_curves
from trainer.export.graph import export_graph
from trainer.export.parity import probes, served_metrics
from trainer.export.release import BACKGROUND_ROWS, GOLDEN_ROWS, Release, kept_rows
from trainer.export.sequence_parity import (
    check_answers,
    check_steps,
    check_writing,
    prompt_feeds,
)
from trainer.export.sibling import Graph, opened, release_of, written
from trainer.recipes.evaluation import evaluate
from trainer.recipes.trained import Trained
from trainer.zoo.vocabularies import source_vocabulary
from wintergarden.store import TensorInfo
from wintergarden.store.manifest import GenerationInfo, StateInfo
from wintergarden.store.names import FORCED, STEP
from wintergarden.store.reference import MAX_BYTES, MAX_EXAMPLES, write_reference

_PROMPT = 12  # tokens of the golden prompts
_WRITTEN = Sampling(max_tokens=16)
_ROWS = 64

_SETTINGS = {
    "max_tokens": "tokens to write, at most",
    "temperature": "0: the likeliest token each time; 1: as likely as the network says",
    "top_k": "draw from so many of the likeliest tokens; 0: from all",
    "top_p": "draw from the likeliest tokens that together are so likely; 1: from all",
    "seed": "of the draws: the same seed gives the same text",
}
_RANGES = {"max_tokens": (1.0, float(MAX_WRITTEN))}


class Told(nn.Module):
    """A language model on whole texts: (N, T) int64 to log-probabilities (N, T, V)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        logits, _ = self.network(tokens)
        return (torch.log_softmax(logits, dim=2),)


class Writing:
    """Makes the releases of a trained network.

    Args:
        trained: the network, and what it was trained on.
        model: the family's name.
    """

    def __init__(self, trained: Trained, model: str) -> None:
        self._trained, self._model = trained, model
        self._dataset = trained.dataset
        vocabulary = source_vocabulary(self._dataset.info)
        self._classes = vocabulary.size
        self._marks = Marks(vocabulary.begin, vocabulary.end)
        self._writer = cast("Writer", trained.network)
        self._told = Told(trained.network).eval()

    def releases(self) -> list[Release]:
        """Of all graphs, the whole one last.

        Raises:
            DataLoss: a graph is not the network.
        """
        parts = writer_parts(self._writer)
        forced, step, whole = self._forced(), self._step(parts), self._whole(parts)
        metrics = self._metrics(forced)
        return [
            self._release_forced(forced, metrics),
            self._release_step(step, metrics),
            self._release_whole(whole, metrics),
        ]

    def _forced(self) -> Graph:
        example = torch.from_numpy(self._dataset.train.inputs[:3])
        model = export_graph(self._told, {TOKENS: example}, {TOKENS: (0, 1)}, (LOG_PROBABILITIES,))
        session = opened(model)
        calls: Iterator[Mapping[str, Array]] = ({TOKENS: x} for x in probes(self._dataset))
        parity = check_answers(self._told, session, calls, (LOG_PROBABILITIES,))
        outputs = self._trained.task.describe(self._dataset.info)
        return Graph(
            model, session, parity, [self._tokens(TOKENS, "a text, its begin first")], outputs
        )

    def _step(self, parts: Parts) -> Graph:
        session = opened(parts.step)
        parity = check_steps(self._writer, session, self._classes)
        inputs = [
            self._tokens(TOKEN, "the token that was written last", 1),
            *(
                TensorInfo(
                    name=state.name,
                    datatype=state.datatype,
                    shape=(-1, *state.shape),
                    meaning="what the step before left; zeros before the first",
                )
                for state in parts.states
            ),
        ]
        logits = TensorInfo(
            name=LOGITS,
            datatype="FP32",
            shape=(-1, self._classes),
            meaning="unnormalised log-probability of each token to be the next",
            units="nats",
        )
        left = (
            TensorInfo(
                name=state.output,
                datatype=state.datatype,
                shape=(-1, *state.shape),
                meaning=f"{state.name} for the step after",
            )
            for state in parts.states
        )
        return Graph(parts.step, session, parity, inputs, [logits, *left])

    def _whole(self, parts: Parts) -> Graph:
        model = compose_writer(parts, self._marks)
        session = opened(model)
        parity = check_writing(self._writer, session, self._prompts(), self._marks)
        inputs = [
            self._tokens(PROMPT, "what to go on with, without its begin"),
            *(
                TensorInfo(
                    name=name,
                    datatype="FP32" if name in ("temperature", "top_p") else "INT64",
                    shape=(1,),
                    meaning=meaning,
                    value_range=_RANGES.get(name),
                )
                for name, meaning in _SETTINGS.items()
            ),
        ]
        outputs = written(
            "how the text goes on: ids of vocabulary, padding after the end",
            "log-probability of what was written, at temperature 1",
        )
        return Graph(model, session, parity, inputs, outputs)

    def _prompts(self) -> Array:
        """Beginnings of held-out pieces, without marks, (N, 12)."""
        found = self._dataset.test.inputs[:_ROWS, 1 : _PROMPT + 1].copy()
        marks = [mark for mark in (self._marks.begin, self._marks.end) if mark is not None]
        # A text ends where padding begins.
        is_over = (np.isin(found, [self._marks.padding, *marks])).cumsum(axis=1) > 0
        found[is_over] = self._marks.padding
        return found

    def _metrics(self, forced: Graph) -> dict[str, float]:
        trained = self._trained
        metrics = trained.measures()
        # Piece by piece, nothing taken along: what the graph that is told whole texts is worth.
        told = served_metrics(forced.session, trained.task, self._dataset.test)
        metrics |= {f"test_forced_{name}": value for name, value in told.items()}
        for part, split in (("test", self._dataset.test), ("validation", self._dataset.validation)):
            measured = evaluate(trained, split)
            metrics |= {f"{part}_{name}": value for name, value in measured.items()}
        return metrics

    def _release_whole(self, graph: Graph, metrics: Mapping[str, float]) -> Release:
        trained, prompts = self._trained, self._prompts()
        wrote = reference.write(self._writer, torch.from_numpy(prompts), self._marks, _WRITTEN)
        margins = np.zeros(len(prompts)) if wrote.margins is None else wrote.margins.numpy()
        clearest = np.sort(np.argsort(-margins, kind="stable")[:GOLDEN_ROWS])
        prompt = prompts[clearest]
        wrote = reference.write(self._writer, torch.from_numpy(prompt), self._marks, _WRITTEN)
        outputs = {
            TOKENS: wrote.tokens.numpy(),
            LENGTHS: wrote.lengths.numpy(),
            SCORES: wrote.scores.numpy(),
        }
        return release_of(
            trained,
            self._model,
            "",
            graph,
            golden=(prompt_feeds(prompt, _WRITTEN), outputs),
            metrics=metrics,
            fields={},
            charts=[learning_curves(trained)] if trained.history else [],
            has_weights=True,
        )

    def _release_forced(self, graph: Graph, metrics: Mapping[str, float]) -> Release:
        test, train = self._dataset.test, self._dataset.train.inputs
        tokens = test.inputs[:GOLDEN_ROWS]
        with torch.no_grad():
            (told,) = self._told(torch.from_numpy(tokens))
        background = train[: kept_rows(BACKGROUND_ROWS, MAX_BYTES // 8, train)]
        count = kept_rows(MAX_EXAMPLES, MAX_BYTES - background.nbytes, test.inputs, test.labels)
        return release_of(
            self._trained,
            self._model,
            FORCED,
            graph,
            golden=({TOKENS: tokens}, {LOG_PROBABILITIES: told.numpy()}),
            metrics=metrics,
            fields={},
            reference=write_reference(
                {TOKENS: test.inputs[:count]}, test.labels[:count], background
            ),
        )

    def _release_step(self, graph: Graph, metrics: Mapping[str, float]) -> Release:
        tokens = torch.from_numpy(self._dataset.test.inputs[:GOLDEN_ROWS, :4])
        # Of few texts there may be fewer to test with.
        states = tuple(state.zeros(len(tokens)) for state in self._writer.states)
        with torch.no_grad():  # the third step: its states are no zeros any more
            for place in range(tokens.shape[1] - 1):
                _, states = self._writer.step(tokens[:, place : place + 1], states)
            logits, after = self._writer.step(tokens[:, -1:], states)
        names = self._writer.states
        feeds = {TOKEN: tokens[:, -1:].contiguous().numpy()}
        feeds |= {s.name: tensor.numpy() for s, tensor in zip(names, states, strict=True)}
        outputs = {LOGITS: logits.numpy()}
        outputs |= {s.output: tensor.numpy() for s, tensor in zip(names, after, strict=True)}
        return release_of(
            self._trained,
            self._model,
            STEP,
            graph,
            golden=(feeds, outputs),
            metrics=metrics,
            fields={
                "states": tuple(
                    StateInfo(input=s.name, output=s.output, datatype=s.datatype, shape=s.shape)
                    for s in names
                ),
                "generation": GenerationInfo(
                    token=TOKEN,
                    logits=LOGITS,
                    begin=self._marks.begin,
                    end=self._marks.end,
                    max_context=getattr(self._trained.network, "context", None),
                ),
            },
        )

    def _tokens(self, name: str, meaning: str, length: int = -1) -> TensorInfo:
        return TensorInfo(
            name=name,
            datatype="INT64",
            shape=(-1, length),
            meaning=meaning,
            units="ids of vocabulary, 0 after the last",
            value_range=(0.0, float(self._classes - 1)),
        )
