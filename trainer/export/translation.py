"""The family of a network that writes about a source: the whole of it, and what it is told.

NAME          source → tokens, lengths, scores, attention; one call writes whole texts
NAME.forced   source, prefix → log_probabilities, attention; what is explained
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from trainer.data.dataset import Array, Split
from trainer.decoding import reference
from trainer.decoding.beam import Beams
from trainer.decoding.compose import (
    LENGTHS,
    LOG_PROBABILITIES,
    PREFIX,
    SCORES,
    TOKENS,
    compose_forced,
    compose_translator,
)
from trainer.decoding.network import Marks, State, Translator
from trainer.decoding.parts import ATTENTION, SOURCE, Parts, translator_parts
from trainer.export.attention_charts import alignments
from trainer.export.charts import learning_curves
from trainer.export.graph import export_graph, variable_axes
from trainer.export.parity import probes
from trainer.export.release import BACKGROUND_ROWS, GOLDEN_ROWS, Release, kept_rows
from trainer.export.sequence_parity import (
    check_answers,
    check_translation,
    run,
    said,
)
from trainer.export.sibling import Graph, opened, release_of, written
from trainer.recipes.evaluation import evaluate
from trainer.recipes.hyperparameters import SequenceHyperparameters
from trainer.recipes.trained import Trained
from trainer.zoo.vocabularies import target_vocabulary
from wintergarden.runtime import Session
from wintergarden.store import TensorInfo
from wintergarden.store.names import FORCED
from wintergarden.store.reference import MAX_BYTES, MAX_EXAMPLES, write_reference
from wintergarden.text import UNKNOWN

MAX_STEPS = 256
"""Of a graph that has a copy of the step for each token."""

_ROWS = 64


class Prepared(nn.Module):
    """A translator behind the preprocessing of its source."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.preprocessing = trained.preprocessing
        self.network = trained.network

    @property
    def _translator(self) -> Translator:
        return cast("Translator", self.network)

    @property
    def memories(self) -> tuple[str, ...]:
        return self._translator.memories

    @property
    def states(self) -> tuple[State, ...]:
        return self._translator.states

    def memory(self, source: Tensor) -> tuple[Tensor, ...]:
        return self._translator.memory(self.preprocessing(source))

    def begin(self, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self._translator.begin(memory)

    def step(
        self, token: Tensor, states: tuple[Tensor, ...], memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        return self._translator.step(token, states, memory)

    def forward(self, source: Tensor, prefix: Tensor) -> tuple[Tensor, ...]:
        """Log-probabilities (N, T, V), and where it looked (N, T, S), if anywhere."""
        answers = self.network(self.preprocessing(source), prefix)
        logits, *others = answers if isinstance(answers, tuple) else (answers,)
        return torch.log_softmax(logits, dim=2), *others


class Translation:
    """Makes the releases of a trained network.

    Args:
        trained: the network, and what it was trained on.
        model: the family's name.
    """

    def __init__(self, trained: Trained, model: str) -> None:
        self._trained, self._model = trained, model
        self._dataset, info = trained.dataset, trained.dataset.info
        chosen = cast("SequenceHyperparameters", trained.hyperparameters)
        vocabulary = target_vocabulary(info)
        self._classes = vocabulary.size
        self._marks = Marks(vocabulary.begin, vocabulary.end)
        splits = (self._dataset.train, self._dataset.validation, self._dataset.test)
        # Labels begin with a mark that is not written.
        most = max(split.labels.shape[1] for split in splits) - 1
        self._beams = Beams(chosen.beam_width, most, chosen.length_penalty)
        self._network = Prepared(trained).eval()
        self._source = SOURCE if info.vocabulary else info.input_name
        self._axes = variable_axes(info.input_shape)

    def releases(self) -> list[Release]:
        """Of all graphs, the whole one last.

        Raises:
            DataLoss: a graph is not the network.
        """
        example = torch.from_numpy(self._dataset.train.inputs[:3])
        parts = translator_parts(self._network, {self._source: example}, self._axes)
        forced = self._forced(parts, example)
        whole = self._whole(parts)
        rows, metrics = self._clear_rows(), self._metrics(forced.session, whole.session)
        return [
            self._release_forced(forced, rows, metrics),
            self._release_whole(whole, rows, metrics),
        ]

    def _whole(self, parts: Parts) -> Graph:
        beams = self._beams
        model = compose_translator(
            parts,
            self._marks,
            beams.most,
            beam_width=beams.width,
            length_penalty=beams.length_penalty,
        )
        session = opened(model)
        parity = check_translation(
            self._network, session, probes(self._dataset), self._marks, beams
        )
        penalty = ", divided by the length's penalty" if beams.width > 1 else ""
        outputs = written(
            "what was written: ids of target_vocabulary, padding after the end",
            f"log-probability of what was written{penalty}",
        )
        if parts.attends:
            outputs.append(_attention())
        return Graph(model, session, parity, [self._source_info()], outputs)

    def _forced(self, parts: Parts, example: Tensor) -> Graph:
        # What answers all places at once is exported so; else there is a copy of the step for each.
        at_once = not getattr(self._network.network, "is_stepwise", False)
        names = [LOG_PROBABILITIES]
        if at_once:
            names += getattr(self._network.network, "observations", ())
            model = self._export_forced(example, names)
        else:
            names += [ATTENTION] if parts.attends else []
            model = compose_forced(parts, min(self._beams.most, MAX_STEPS))
        session = opened(model)
        parity = check_answers(self._network, session, self._calls(), names)
        outputs = [
            TensorInfo(
                name=LOG_PROBABILITIES, datatype="FP32", shape=(-1, -1, self._classes),
                meaning="log-probability of each token to follow this one", units="nats",
            )
        ]  # fmt: skip
        for name, output in zip(names[1:], model.graph.output[1:], strict=True):
            axes = output.type.tensor_type.shape.dim
            shape = tuple(-1 if axis.dim_param else axis.dim_value for axis in axes)
            outputs.append(_attention(name, shape))
        prefix = TensorInfo(
            name=PREFIX,
            datatype="INT64",
            shape=(-1, -1),
            meaning=f"the begin, id {self._marks.begin}, and what was written before",
            units="ids of target_vocabulary",
            value_range=(0.0, float(self._classes - 1)),
        )
        return Graph(model, session, parity, [self._source_info(), prefix], outputs)

    def _export_forced(self, example: Tensor, names: list[str]) -> onnx.ModelProto:
        prefix = torch.from_numpy(self._dataset.train.labels[:3, :-1])
        return export_graph(
            self._network,
            {self._source: example, PREFIX: prefix},
            {self._source: (0, *self._axes), PREFIX: (0, 1)},
            names,
        )

    def _calls(self) -> Iterator[Mapping[str, Array]]:
        """Sources of every size and kind, and prefixes of several lengths."""
        generator = np.random.default_rng(0)
        labels = self._dataset.test.labels[:, :-1]
        lengths = sorted({1, labels.shape[1] // 2 or 1, labels.shape[1]})
        for number, source in enumerate(probes(self._dataset)):
            length = min(lengths[number % len(lengths)], MAX_STEPS)
            prefix = np.resize(labels, (len(source), labels.shape[1]))[:, :length]
            if number % 4 == 3:
                prefix = generator.integers(0, self._classes, prefix.shape)
            yield {self._source: source, PREFIX: np.ascontiguousarray(prefix)}

    def _clear_rows(self) -> Array:
        """Held-out examples whose answers are the clearest: no other machine may see them other."""
        inputs = self._dataset.test.inputs[:_ROWS]
        found = reference.translate(
            self._network, torch.from_numpy(inputs), self._marks, self._beams.most
        )
        margins = np.zeros(len(inputs)) if found.margins is None else found.margins.numpy()
        return np.sort(np.argsort(-margins, kind="stable")[:GOLDEN_ROWS])

    def _metrics(self, forced: Session, whole: Session) -> dict[str, float]:
        trained, test = self._trained, self._dataset.test
        metrics = trained.measures()
        told = self._told(forced, test)
        metrics |= {f"test_{name}": value for name, value in told.items()}
        metrics["test_exact_match"] = self._exact(whole, test)
        on_validation = evaluate(trained, self._dataset.validation)
        return metrics | {f"validation_{name}": value for name, value in on_validation.items()}

    def _told(self, session: Session, split: Split) -> dict[str, float]:
        """What the task measures of the graph that is told what was written."""
        tally: Any = None
        for start in range(0, len(split), _ROWS):
            labels = split.labels[start : start + _ROWS, : MAX_STEPS + 1]
            source = split.inputs[start : start + _ROWS]
            answers = run(session, {self._source: source, PREFIX: labels[:, :-1]})
            part = self._trained.task.served_tally(answers, labels)
            tally = part if tally is None else tally + part
        return self._trained.task.metrics(tally, len(split))

    def _exact(self, session: Session, split: Split) -> float:
        """Share of the examples whose whole text the graph writes."""
        right = 0
        for start in range(0, len(split), _ROWS):
            rows = slice(start, start + _ROWS)
            tokens = run(session, {self._source: split.inputs[rows]})[TOKENS]
            wanted = split.labels[rows, 1:]
            width = max(tokens.shape[1], wanted.shape[1])
            wanted = _wide(wanted, width)
            is_right = (_wide(tokens, width) == wanted) & (wanted != UNKNOWN)
            right += int(is_right.all(axis=1).sum())
        return right / len(split)

    def _release_whole(self, graph: Graph, rows: Array, metrics: Mapping[str, float]) -> Release:
        trained, source = self._trained, self._dataset.test.inputs[rows]
        wrote = said(self._network, source, self._marks, self._beams)
        outputs = {
            TOKENS: wrote.tokens.numpy(),
            LENGTHS: wrote.lengths.numpy(),
            SCORES: wrote.scores.numpy(),
        }
        charts = [learning_curves(trained)] if trained.history else []
        if wrote.attention is not None:
            outputs[ATTENTION] = wrote.attention.numpy()
            charts += alignments(self._dataset.info, source, outputs)
        return release_of(
            trained,
            self._model,
            "",
            graph,
            golden=({self._source: source}, outputs),
            metrics=metrics,
            fields={},
            charts=charts,
            reference=self._reference(is_forced=False),
            has_weights=True,
        )

    def _release_forced(self, graph: Graph, rows: Array, metrics: Mapping[str, float]) -> Release:
        labels = self._dataset.test.labels[rows, : MAX_STEPS + 1]
        feeds = {self._source: self._dataset.test.inputs[rows], PREFIX: labels[:, :-1]}
        with torch.no_grad():
            answers = self._network(*(torch.from_numpy(array) for array in feeds.values()))
        names = [output.name for output in graph.outputs]
        told = {name: answer.numpy() for name, answer in zip(names, answers, strict=True)}
        return release_of(
            self._trained,
            self._model,
            FORCED,
            graph,
            golden=(feeds, told),
            metrics=metrics,
            fields={},
            reference=self._reference(is_forced=True),
        )

    def _reference(self, *, is_forced: bool) -> bytes:
        test, train = self._dataset.test, self._dataset.train.inputs
        background = train[: kept_rows(BACKGROUND_ROWS, MAX_BYTES // 8, train)]
        room = MAX_BYTES - background.nbytes
        count = kept_rows(MAX_EXAMPLES, room, test.inputs, test.labels, test.labels)
        inputs = {self._source: test.inputs[:count]}
        if is_forced:
            inputs[PREFIX] = test.labels[:count, :-1]
        return write_reference(inputs, test.labels[:count], background)

    def _source_info(self) -> TensorInfo:
        info = self._dataset.info
        return TensorInfo(
            name=self._source,
            datatype="INT64" if info.vocabulary else "FP32",
            shape=(-1, *info.input_shape),
            meaning=info.summary,
            units=info.units,
            value_range=info.value_range,
        )


def _attention(name: str = ATTENTION, shape: tuple[int, ...] = (-1, -1, -1)) -> TensorInfo:
    meaning = "where in the source it looked for each token that it wrote"
    if len(shape) > 3:
        meaning += ", by layer and head"
    return TensorInfo(
        name=name, datatype="FP32", shape=shape, meaning=meaning, value_range=(0.0, 1.0)
    )


def _wide(tokens: Array, width: int) -> Array:
    return np.pad(tokens, ((0, 0), (0, width - tokens.shape[1])))
