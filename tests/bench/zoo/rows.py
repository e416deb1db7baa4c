"""The rows of docs/zoo.md: which architecture, on which data, against which bar."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the row.
        architecture: to train.
        dataset: to train it on; empty: random pictures of `side` pixels and 1 000 classes, to
            which an untrained network of full size is exported.
        hyperparameters: other than the defaults.
        metric: what the bar is about; empty: that it trains, exports, serves.
        least: the bar; at least so much, of the mean where there are several trainings.
        most: the bar of what is better the smaller it is; 0: that is `least`.
        bar: where it comes from.
        side: see `dataset`.
        seeds: trainings, with the seeds 0, 1, …; what is served and explained is the first.
        folds: of a cross-validation in place of the data set's own parts; 0: these.
    """

    name: str
    architecture: str
    dataset: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    metric: str = ""
    least: float = 0.0
    bar: str = ""
    most: float = 0.0
    side: int = 224
    seeds: int = 1
    folds: int = 0

    def is_met(self, value: float) -> bool:
        """Whether so much is what the bar wants."""
        return value <= self.most if self.most else value >= self.least


def _image_rows() -> Iterable[Row]:
    """What is too large for a CPU and minutes is trained at a share of its width."""
    small = {"epochs": 4, "batch_size": 32}
    for name, width, more in (
        ("alexnet", 0.25, {}),
        ("alexnet", 0.25, {"variant": "paper"}),
        ("vgg11", 0.125, {}),
        ("vgg13", 0.125, {}),
        ("vgg16", 0.125, {"epochs": 8}),
        ("vgg19", 0.125, {"epochs": 8}),
        ("googlenet", 0.25, {}),
        ("googlenet", 0.25, {"variant": "paper"}),
        ("resnet18", 0.25, {}),
        ("resnet50", 0.25, {}),
    ):
        label = f"{name}-paper" if "variant" in more else name
        values = {**small, "width": width, **more}
        yield Row(label, name, "mnist-5k", values, bar="trains, exports, serves")


ROWS: tuple[Row, ...] = (
    Row("linear-values", "linear", "diabetes", {"l2": 0.0}, "test_r2", 0.326,
        "scikit-learn's LinearRegression, 0.336, less 0.01"),
    Row("linear-classes", "linear", "breast-cancer", {"l2": 2 / 375}, "test_accuracy", 0.9637,
        "scikit-learn's LogisticRegression, C = 1, 0.9737, less 0.01"),
    Row("perceptron", "perceptron", "breast-cancer", {}, "test_accuracy", 0.927,
        "scikit-learn's Perceptron, 0.947, less 0.02"),
    *(
        Row(f"mlp1-{name}", "mlp", f"function-{name}",
            {"hidden_sizes": [64], "l2": 0.0, "epochs": 400, "learning_rate": 0.02}, "test_r2",
            least, "the function without its noise")
        for name, least in (("abs", 0.99), ("sin", 0.99), ("step", 0.95))
    ),
    Row("fcn", "mlp", "breast-cancer", {}, "test_accuracy", 0.96, "the lecture's, one split"),
    Row("fcn-folds", "mlp", "breast-cancer", {}, "test_accuracy", 0.96,
        "the lecture's, mean of five folds", folds=5),
    Row("conv-op", "convolution", "mnist-5k",
        bar="equal to scipy.signal: tests/unit/trainer/test_convolution.py"),
    Row("lenet5", "lenet5", "mnist-5k", {}, "test_accuracy", 0.98, "the lecture's", seeds=3),
    Row("lenet5-stochastic", "lenet5", "mnist-5k", {"pooling": "stochastic"},
        bar="exports, parity of the serve form"),
    # The paper's class weights find more of the ink and take more for ink that is none.
    Row("segnet", "segnet", "digit-masks", {"class_weights": "none"}, "test_mean_iou", 0.80,
        "the lecture's"),
    Row("segnet-balanced", "segnet", "digit-masks", {}, bar="reported"),
    Row("segnet-11", "segnet", "digit-scenes", {}, bar="reported"),
    Row("textcnn", "textcnn", "languages", {}, "test_accuracy", 0.701,
        "bag-of-words logistic regression (tf-idf, C = 10), 0.706, less 0.005", seeds=3),
    *_image_rows(),
    Row("alexnet-full", "alexnet", bar="exports, serves, is explained"),
    Row("alexnet-paper-full", "alexnet", hyperparameters={"variant": "paper"}, side=227,
        bar="exports, serves, is explained"),
    Row("googlenet-full", "googlenet", bar="exports, serves, is explained"),
    Row("googlenet-paper-full", "googlenet", hyperparameters={"variant": "paper"},
        bar="exports, serves, is explained"),
    Row("resnet50-full", "resnet50", bar="exports, serves, is explained"),
    Row("vgg16-full", "vgg16", bar="exports, serves, is explained"),
)  # fmt: skip

# Trained seed by seed by tests/bench/sequences/train.py, since one training takes minutes.
SEQUENCES: tuple[Row, ...] = (
    Row("bahdanau", "bahdanau", "dates", {"batch_size": 128, "epochs": 4},
        "test_exact_match", 0.99, "the lecture's", seeds=3),
    Row("transformer", "transformer", "dates",
        {"batch_size": 128, "epochs": 10},
        "test_exact_match", 0.98, "the lecture's", seeds=3),
    Row("show_attend_tell", "show_attend_tell", "digit-captions",
        {"batch_size": 64, "epochs": 15, "augment": False},
        "test_exact_match", 0.95, "the lecture's", seeds=3),
    Row("gru-dates", "gru", "dates",
        {"batch_size": 128, "epochs": 8, "hidden_size": 192, "dropout": 0.0, "l2": 0.0},
        "test_exact_match", 0.98, "the lecture's", seeds=3),
    Row("lstm-tags", "lstm", "python-tags",
        {"batch_size": 32, "epochs": 5, "hidden_size": 64, "embed_dim": 32},
        "test_macro_f1", 0.95, "the lecture's", seeds=3),
    Row("gru-languages", "gru", "languages",
        {"batch_size": 64, "epochs": 10, "hidden_size": 128},
        "test_accuracy", 0.0, "reported beside textcnn", seeds=3),
    Row("lstm-source", "lstm", "python-source",
        {"batch_size": 32, "epochs": 5, "hidden_size": 384, "dropout": 0.0,
         "learning_rate": 5e-3, "vocabulary_size": 160},
        "test_bits_per_character", most=1.807,
        bar="an interpolated Kneser-Ney 5-gram on the same files, 1.907, less 0.10", seeds=3),
)  # fmt: skip


def find_row(name: str) -> Row:
    """The row of a name."""
    (row,) = (row for row in (*ROWS, *SEQUENCES) if row.name == name)
    return row
