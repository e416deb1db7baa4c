"""A fixed kernel answers as scipy.signal does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import signal

from trainer.data.registry import load
from trainer.export.release import make_release
from trainer.recipes.supervised import train
from trainer.zoo.convolution import LAPLACIAN, Convolution
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.store.names import CARD, MODEL

KERNELS = {
    "laplacian": LAPLACIAN,
    "uneven": ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0)),
    "row": ((1.0, 0.0, -1.0, 2.0, 3.0),),
}


@pytest.mark.parametrize("mode", ["valid", "same"])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
def test_it_is_scipys(kernel: tuple[tuple[float, ...], ...], mode: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 11, 9)).astype(np.float32)
    got = Convolution(kernel, mode)(torch.from_numpy(images)).numpy()
    for image, maps in zip(images, got, strict=True):
        for channel, answer in zip(image, maps, strict=True):
            expected = signal.convolve2d(channel, np.array(kernel), mode=mode)
            np.testing.assert_array_equal(answer, expected)  # exact: they are integers


def test_it_is_served_with_the_picture_as_it_is() -> None:
    dataset, architecture = load("digits"), find("convolution")
    values = {"kernel": [[0, 1], [2, 3]], "mode": "same"}
    trained = train(architecture, architecture.hyperparameters.parse(values), dataset, 0)
    release = make_release(trained, "edges")
    session = open_session(release.files[MODEL], RuntimeOptions(device="cpu"))
    images = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    (answer,) = session.run({"image": images})
    for image, got in zip(images[:, 0], answer[:, 0], strict=True):
        expected = signal.convolve2d(image, np.array(values["kernel"]), mode="same")
        np.testing.assert_allclose(got, expected, atol=1e-6)
    (output,) = release.fields.outputs
    assert (output.name, output.shape) == ("feature_map", (-1, 1, 8, 8))
    assert release.fields.task == "filtering"
    assert release.fields.class_labels == ()
    assert json.dumps(values["mode"]) in release.files[CARD].decode()


def test_a_ragged_kernel_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"'kernel': got .*allowed is rows of one length"):
        find("convolution").hyperparameters.parse({"kernel": [[1, 2], [3]]})
