"""Tasks whose answers have a place for each token: tagging, and generating texts.

Losses are summed over tokens and divided by the mean number of tokens of a training example, so
that an epoch's mean loss is that of a token, and each token counts alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.dataset import Array, DatasetInfo
from trainer.recipes.task import LOGITS, PROBABILITIES, Answer, Carried, Task
from wintergarden.store import TensorInfo
from wintergarden.text import PADDING, UNKNOWN, Vocabulary

LOG_PROBABILITIES = "log_probabilities"
NO_TAG = -1
"""What stands for the tag of no token."""


class _TokenTask(Task):
    """Shared by tasks of one class for each place.

    Args:
        labels: of the training part.
        weights: (K,), of each class in the loss; None: all count alike.
        smoothing: share of the target that all classes have alike, while training.
    """

    target_padding: int
    weights: Tensor | None

    def __init__(
        self, labels: Array, weights: Tensor | None = None, smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)
        self._smoothing = smoothing
        judged = self._judged(self.targets(labels))
        self._mean_length = max(1.0, int((judged != self.target_padding).sum()) / len(labels))

    def targets(self, labels: Array) -> Tensor:
        return torch.from_numpy(labels)

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        judged = self._judged(targets)
        return self._nats(answers, judged, self._smoothing).sum() / self._mean_length

    def _judged(self, targets: Tensor) -> Tensor:
        """What answers (N, T, K) are held to, (N, T)."""
        return targets

    def _nats(self, answers: Tensor, judged: Tensor, smoothing: float = 0.0) -> Tensor:
        """The loss of each token, (N, T); 0 where there is none."""
        return functional.cross_entropy(
            answers.transpose(1, 2),
            judged,
            weight=self.weights,
            reduction="none",
            ignore_index=self.target_padding,
            label_smoothing=smoothing,
        )


class Tagging(_TokenTask):
    """One of K classes for each token.

    Shape:
        input:  (N, T, K) logits.
        output: logits and probabilities (N, T, K); what stands at padding says nothing.

    Args:
        labels: (M, T) int64 of the training part, `NO_TAG` at padding.
        classes: K.
        weights: (K,), of each class in the loss; None: all count alike.
        smoothing: share of the target that all classes have alike, while training.
    """

    outputs = (LOGITS, PROBABILITIES)
    score = "macro_f1"
    target_padding = NO_TAG

    def __init__(
        self, labels: Array, classes: int, weights: Tensor | None = None, smoothing: float = 0.0
    ) -> None:
        super().__init__(labels, weights, smoothing)
        self._classes = classes

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return logits, torch.softmax(logits, dim=-1)

    def tally(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss without smoothing, and how many tokens of each class were taken for which."""
        loss = self._nats(answers, targets).sum().double().reshape(1)
        there = targets != NO_TAG
        pairs = targets[there] * self._classes + answers.argmax(dim=-1)[there]
        return torch.cat([loss, torch.bincount(pairs, minlength=self._classes**2).double()])

    def metrics(self, tally: Tensor, examples: int) -> dict[str, float]:
        """F1 is the mean over classes that are there or were answered."""
        del examples
        confusion = tally[1:].reshape(self._classes, self._classes)
        right, tokens = confusion.diagonal(), confusion.sum()
        either = confusion.sum(dim=0) + confusion.sum(dim=1)
        there = either > 0
        return {
            "loss": float(tally[0] / tokens),
            "macro_f1": float((2 * right[there] / either[there]).mean()),
            "accuracy": float(right.sum() / tokens),
        }

    def describe(self, info: DatasetInfo) -> tuple[TensorInfo, ...]:
        shape = (-1, -1, len(info.class_labels))
        return (
            TensorInfo(
                name=LOGITS,
                datatype="FP32",
                shape=shape,
                meaning="unnormalised log-probability of each token's class",
                units="nats",
            ),
            TensorInfo(
                name=PROBABILITIES,
                datatype="FP32",
                shape=shape,
                meaning="probability of each token's class",
                value_range=(0.0, 1.0),
            ),
        )

    def served_tally(self, answers: Mapping[str, Array], labels: Array) -> Tensor:
        logits = torch.from_numpy(answers[LOGITS])
        return self.tally(logits, self.targets(labels)[:, : logits.shape[1]])


class _Generating(_TokenTask):
    """The token that follows, of V.

    Shape:
        input:  (N, T, V) logits.
        output: log_probabilities (N, T, V), of the token that follows each place of a prefix.
    """

    outputs = (LOG_PROBABILITIES,)
    target_padding = PADDING

    def forward(self, logits: Tensor) -> tuple[Tensor]:
        return (torch.log_softmax(logits, dim=-1),)

    def describe(self, info: DatasetInfo) -> tuple[TensorInfo, ...]:
        vocabulary = info.target_vocabulary or info.vocabulary
        return (
            TensorInfo(
                name=LOG_PROBABILITIES,
                datatype="FP32",
                shape=(-1, -1, vocabulary.size if vocabulary else -1),
                meaning="log-probability of each token to follow this one",
                units="nats",
            ),
        )

    def served_tally(self, answers: Mapping[str, Array], labels: Array) -> Tensor:
        """Log-probabilities are logits: their softmax is what they are of."""
        return self.tally(torch.from_numpy(answers[LOG_PROBABILITIES]), self.targets(labels))


class SequenceToSequence(_Generating):
    """A text for each input, taught by forcing: the network sees the true beginning of it.

    Williams, Zipser, "A learning algorithm for continually running fully recurrent neural
    networks", Neural Computation 1(2), 1989, §3.2.

    Targets (N, T + 1) begin with their mark; a network is called with inputs and targets without
    their last, and answers logits (N, T, V), or a tuple of them and what else there is to say, such
    as attention. Where it has a method `penalty(others, targets)`, that is added to the loss.
    """

    score = "exact_match"

    def ask(
        self, network: Callable[..., Any], inputs: Tensor, targets: Tensor, carried: Carried
    ) -> Answer:
        del carried
        answers = network(inputs, targets[:, :-1])
        main, *others = answers if isinstance(answers, tuple) else (answers,)
        penalty = getattr(getattr(network, "module", network), "penalty", None)
        return Answer(main, penalty=penalty and penalty(tuple(others), targets))

    def tally(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss, tokens, right tokens, texts all right.

        A text whose tokens are all the likeliest ones after its true beginnings is what greedy
        decoding gives, so its exact matches are counted here without any decoding. A text of which
        a token is unknown cannot be written.
        """
        judged = self._judged(targets)
        there = judged != PADDING
        right = (answers.argmax(dim=-1) == judged) | ~there
        exact = (right & (judged != UNKNOWN)).all(dim=1)
        sums = [
            self._nats(answers, judged).sum(),
            there.sum(),
            (right & there).sum(),
            exact.sum(),
        ]
        return torch.stack([each.double() for each in sums])

    def metrics(self, tally: Tensor, examples: int) -> dict[str, float]:
        loss, tokens, right, exact = tally.tolist()
        return {
            "loss": loss / tokens,
            "exact_match": exact / examples,
            "accuracy": right / tokens,
        }

    def _judged(self, targets: Tensor) -> Tensor:
        return targets[:, 1:]


class LanguageModelling(_Generating):
    """The next token of a document, the state carried from piece to piece.

    Truncated back-propagation through time: gradients end where a piece begins. Williams, Peng, "An
    efficient gradient-based algorithm for on-line training of recurrent network trajectories",
    Neural Computation 2(4), 1990; as here e.g. Mikolov et al., Interspeech 2010, §2.

    A network is called with tokens (N, T) and what it answered beside logits before, and answers
    logits (N, T, V) and its states. It forgets states in rows that begin with the mark of it.

    Args:
        labels: (M, T) int64 of the training part, the token that follows each.
        vocabulary: of the tokens.
        smoothing: share of the target that all tokens have alike, while training.
    """

    score = "accuracy"
    carries = True
    characters: Tensor

    def __init__(self, labels: Array, vocabulary: Vocabulary, smoothing: float = 0.0) -> None:
        super().__init__(labels, None, smoothing)
        self.register_buffer("characters", _characters(vocabulary), persistent=False)

    def ask(
        self, network: Callable[..., Any], inputs: Tensor, targets: Tensor, carried: Carried
    ) -> Answer:
        del targets
        logits, states = network(inputs, tuple(rows[: len(inputs)] for rows in carried))
        return Answer(logits, carried=tuple(rows.detach().float() for rows in states))

    def tally(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss, tokens, right tokens, characters."""
        there = targets != PADDING
        sums = [
            self._nats(answers, targets).sum(),
            there.sum(),
            ((answers.argmax(dim=-1) == targets) & there).sum(),
            self.characters[targets].sum(),
        ]
        return torch.stack([each.double() for each in sums])

    def metrics(self, tally: Tensor, examples: int) -> dict[str, float]:
        """Bits for each character of the texts, whatever the tokens are; the end costs, too.

        An unknown token counts as one character: more would reward a vocabulary that knows little.
        """
        del examples
        loss, tokens, right, characters = tally.tolist()
        return {
            "loss": loss / tokens,
            "accuracy": right / tokens,
            "bits_per_character": loss / math.log(2) / max(1.0, characters),
        }


def _characters(vocabulary: Vocabulary) -> Tensor:
    """(V,) int64, how many characters each token is; a byte that goes on with one counts none."""
    pieces = vocabulary.pieces(range(vocabulary.size))
    counts = [sum(byte & 0xC0 != 0x80 for byte in piece) for piece in pieces]
    return torch.from_numpy(np.array(counts, dtype=np.int64))
