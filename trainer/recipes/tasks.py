"""The tasks there are: classes of examples, values, classes of pixels, and those of sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.dataset import Array, Dataset, DatasetInfo
from trainer.recipes.hyperparameters import ClassWeights, SupervisedHyperparameters
from trainer.recipes.sequence_tasks import (
    NO_TAG,
    LanguageModelling,
    SequenceToSequence,
    Tagging,
)
from trainer.recipes.standardisation import mean_and_spread
from trainer.recipes.task import LOGITS, PROBABILITIES, Task
from wintergarden.errors import InvalidArgument
from wintergarden.store import TensorInfo

VALUE, FEATURE_MAP = "value", "feature_map"
GENERATING = ("sequence-to-sequence", "captioning", "language-modelling")
"""Tasks of which texts come."""

_WHAT = {"regression": "values", **dict.fromkeys(GENERATING, "texts to generate")}


class Classification(Task):
    """One of K classes for each example.

    Shape:
        input:  (N, K) logits.
        output: logits (N, K) and probabilities (N, K).

    Args:
        weights: (K,), of each class in the loss; None: all count alike.
        smoothing: share of the target that all classes have alike, while training.
    """

    outputs = (LOGITS, PROBABILITIES)
    score = "accuracy"
    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)
        self._smoothing = smoothing

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return logits, torch.softmax(logits, dim=1)

    def targets(self, labels: Array) -> Tensor:
        return torch.from_numpy(labels)

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(
            answers,
            targets,
            weight=self.weights,
            reduction="sum",
            label_smoothing=self._smoothing,
        )

    def tally(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss without smoothing, and the right answers."""
        loss = functional.cross_entropy(answers, targets, weight=self.weights, reduction="sum")
        right = (answers.argmax(dim=1) == targets).sum()
        return torch.stack([loss.double(), right.double()])

    def metrics(self, tally: Tensor, examples: int) -> dict[str, float]:
        loss, right = tally.tolist()
        return {"loss": loss / examples, "accuracy": right / examples}

    def describe(self, info: DatasetInfo) -> tuple[TensorInfo, ...]:
        return _class_outputs((-1, len(info.class_labels)), "each class")

    def served_tally(self, answers: Mapping[str, Array], labels: Array) -> Tensor:
        return self.tally(torch.from_numpy(answers[LOGITS]).cpu(), self.targets(labels))


class Segmentation(Task):
    """One of K classes for each pixel.

    Shape:
        input:  (N, K, H, W) logits.
        output: logits and probabilities (N, K, H, W).

    Args:
        classes: K.
        weights: (K,), of each class in the loss; None: all count alike.
        smoothing: share of the target that all classes have alike, while training.
    """

    outputs = (LOGITS, PROBABILITIES)
    score = "mean_iou"
    weights: Tensor | None

    def __init__(self, classes: int, weights: Tensor | None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)
        self._classes = classes
        self._smoothing = smoothing

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return logits, torch.softmax(logits, dim=1)

    def targets(self, labels: Array) -> Tensor:
        return torch.from_numpy(labels.astype(np.int64, copy=False))

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The mean over an example's pixels, summed over the examples."""
        return self._loss(answers, targets, self._smoothing)

    def tally(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss without smoothing, and how many pixels of each class were taken for which."""
        loss = self._loss(answers, targets, 0.0).double().reshape(1)
        pairs = targets * self._classes + answers.argmax(dim=1)
        confusion = torch.bincount(pairs.flatten(), minlength=self._classes**2)
        return torch.cat([loss, confusion.double()])

    def metrics(self, tally: Tensor, examples: int) -> dict[str, float]:
        confusion = tally[1:].reshape(self._classes, self._classes)
        both = confusion.diagonal()
        either = confusion.sum(dim=0) + confusion.sum(dim=1) - both
        there = either > 0  # a class that is neither there nor seen says nothing
        return {
            "loss": float(tally[0]) / examples,
            "mean_iou": float((both[there] / either[there]).mean()),
            "accuracy": float(both.sum() / confusion.sum()),
        }

    def describe(self, info: DatasetInfo) -> tuple[TensorInfo, ...]:
        height, width = info.input_shape[1:]
        return _class_outputs((-1, len(info.class_labels), height, width), "each pixel's class")

    def served_tally(self, answers: Mapping[str, Array], labels: Array) -> Tensor:
        return self.tally(torch.from_numpy(answers[LOGITS]), self.targets(labels))

    def warped(self, targets: Tensor, maps: Tensor) -> Tensor:
        """What comes in from outside is of class 0, the background."""
        images = targets[:, None].float()
        grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
        warped = functional.grid_sample(images, grid, mode="nearest", align_corners=False)
        return warped[:, 0].long()

    def _loss(self, answers: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        loss = functional.cross_entropy(
            answers, targets, weight=self.weights, reduction="sum", label_smoothing=smoothing
        )
        return loss / math.prod(targets.shape[1:])


class Regression(Task):
    """K values for each example, learnt in units of their spread over the training part.

    Shape:
        input:  (N, K) standardised values.
        output: value (N, K), in the data set's units.

    Args:
        labels: (M, K) of the training part.
    """

    outputs = (VALUE,)
    score = "r2"
    mean: Tensor
    std: Tensor

    def __init__(self, labels: Array) -> None:
        super().__init__()
        mean, std = mean_and_spread(torch.from_numpy(labels), [0])
        self.register_buffer("mean", mean[0])
        self.register_buffer("std", std[0])

    def forward(self, answers: Tensor) -> tuple[Tensor]:
        return (answers * self.std + self.mean,)

    def targets(self, labels: Array) -> Tensor:
        return torch.from_numpy(labels.astype(np.float32, copy=False))

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The squared error in standard deviations, the mean over an example's values."""
        standardised = (targets - self.mean) / self.std
        return functional.mse_loss(answers, standardised, reduction="sum") / answers.shape[1]

    def tally(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss; and of each value its squared and absolute errors, itself and its square."""
        values = targets.double()
        (answered,) = self(answers)
        errors = answered.double() - values
        sums = [errors.square(), errors.abs(), values, values.square()]
        loss = self.loss(answers, targets).double().reshape(1)
        return torch.cat([loss, *(each.sum(dim=0) for each in sums)])

    def metrics(self, tally: Tensor, examples: int) -> dict[str, float]:
        squared, absolute, values, squares = tally[1:].reshape(4, -1)
        spread = squares - values.square() / examples
        # Where all examples have one value there is no spread to explain.
        r2 = torch.where(spread > 0, 1 - squared / spread.clamp_min(1e-300), 0.0)
        return {
            "loss": float(tally[0]) / examples,
            "r2": float(r2.mean()),
            "rmse": float((squared / examples).mean().sqrt()),
            "mae": float((absolute / examples).mean()),
        }

    def describe(self, info: DatasetInfo) -> tuple[TensorInfo, ...]:
        return (
            TensorInfo(
                name=VALUE,
                datatype="FP32",
                shape=(-1, len(self.mean)),
                meaning=", ".join(info.class_labels) or "the value",
            ),
        )

    def served_tally(self, answers: Mapping[str, Array], labels: Array) -> Tensor:
        values = torch.from_numpy(answers[VALUE])
        return self.tally((values - self.mean) / self.std, self.targets(labels))


class Filtering(Task):
    """A map for each picture, of a network that learns nothing; so nothing is judged.

    Shape:
        input:  (N, C, H, W)
        output: feature_map, the same.

    Args:
        shape: (C, H, W) of an answer.
    """

    outputs = (FEATURE_MAP,)
    score = "loss"

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, answers: Tensor) -> tuple[Tensor]:
        return (answers,)

    def targets(self, labels: Array) -> Tensor:
        return torch.zeros(len(labels))

    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        del targets
        return 0 * answers.sum()

    def tally(self, answers: Tensor, targets: Tensor) -> Tensor:
        del answers, targets
        return torch.zeros(1, dtype=torch.float64)

    def metrics(self, tally: Tensor, examples: int) -> dict[str, float]:
        del tally, examples
        return {"loss": 0.0}

    def describe(self, info: DatasetInfo) -> tuple[TensorInfo, ...]:
        return (
            TensorInfo(
                name=FEATURE_MAP,
                datatype="FP32",
                shape=(-1, *self._shape),
                meaning="the picture as the kernel answers to it, by channel",
                units=info.units,
            ),
        )

    def served_tally(self, answers: Mapping[str, Array], labels: Array) -> Tensor:
        return self.tally(torch.from_numpy(answers[FEATURE_MAP]), self.targets(labels))


def check_task(info: DatasetInfo, hyperparameters: SupervisedHyperparameters) -> None:
    """Refuses hyperparameters that make no sense for the task of a data set.

    Raises:
        InvalidArgument: naming the first.
    """
    useless: dict[str, tuple[str, ...]] = {
        "regression": ("label_smoothing", "class_weights"),
        **dict.fromkeys(GENERATING, ("class_weights",)),
    }
    for name in useless.get(info.task, ()):
        if getattr(hyperparameters, name) not in (0.0, "none"):
            raise InvalidArgument(
                f"hyperparameter {name!r}: {info.name} has {_WHAT[info.task]} and no classes; "
                "leave it out",
                field=f"hyperparameters.{name}",
            )


def create_task(dataset: Dataset, hyperparameters: SupervisedHyperparameters) -> Task:
    """The task of a data set, whose texts are token ids already.

    Raises:
        InvalidArgument: a hyperparameter makes no sense for it.
    """
    info, labels = dataset.info, dataset.train.labels
    smoothing = hyperparameters.label_smoothing
    check_task(info, hyperparameters)
    if info.task == "regression":
        return Regression(labels)
    if info.task == "language-modelling":
        if info.vocabulary is None:
            raise InvalidArgument(f"{info.name} has no vocabulary", field="dataset")
        return LanguageModelling(labels, info.vocabulary, smoothing)
    if info.task in GENERATING:
        return SequenceToSequence(labels, smoothing=smoothing)
    classes = len(info.class_labels)
    if info.task == "tagging":
        tags = labels[labels != NO_TAG]
        weights = class_weights(tags, classes, hyperparameters.class_weights)
        return Tagging(labels, classes, weights, smoothing)
    weights = class_weights(labels, classes, hyperparameters.class_weights)
    if info.task == "segmentation":
        return Segmentation(classes, weights, smoothing)
    return Classification(weights, smoothing)


def class_weights(labels: Array, classes: int, kind: ClassWeights) -> Tensor | None:
    """The weight of each class in the loss, (K,) float32; None where all count alike.

    Args:
        labels: of the training part: class indices of any shape.
        classes: K.
        kind: "balanced" makes every class's examples count as much as any other's;
            "median_frequency" is Eigen, Fergus 2015, arXiv:1411.4734, §6.3.2: the median of the
            classes' frequencies over the class's own, and a class's frequency is its share of the
            labels in those examples that have it.
    """
    if kind == "none":
        return None
    counts = np.bincount(labels.reshape(-1).astype(np.int64), minlength=classes).astype(float)
    shares = np.maximum(counts, 1.0)
    if kind == "balanced":
        weights = labels.size / (classes * shares)
    else:
        rows = labels.reshape(len(labels), -1)
        having = np.array([(rows == number).any(axis=1).sum() for number in range(classes)])
        frequencies = counts / np.maximum(having * rows.shape[1], 1)
        if rows.shape[1] == 1:  # one label an example: its share of the examples
            frequencies = counts / labels.size
        there = frequencies[counts > 0]
        weights = np.median(there) / np.maximum(frequencies, there.min())
    return torch.from_numpy(weights.astype(np.float32))


def _class_outputs(shape: tuple[int, ...], whose: str) -> tuple[TensorInfo, ...]:
    return (
        TensorInfo(
            name=LOGITS,
            datatype="FP32",
            shape=shape,
            meaning=f"unnormalised log-probability of {whose}",
            units="nats",
        ),
        TensorInfo(
            name=PROBABILITIES,
            datatype="FP32",
            shape=shape,
            meaning=f"probability of {whose}",
            value_range=(0.0, 1.0),
        ),
    )
