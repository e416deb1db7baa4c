"""What every architecture promises, held over the whole registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from trainer.data.dataset import Dataset
from trainer.data.registry import datasets, load
from trainer.export.graph import ServedClassifier, export
from trainer.export.parity import check_parity, run_onnx
from trainer.recipes.classification import Trained
from trainer.recipes.hyperparameters import hyperparameters_of, validate
from trainer.recipes.preprocessing import Preprocessing
from trainer.zoo import registry
from trainer.zoo.lenet5 import LeNet5
from trainer.zoo.mlp import MLP
from wintergarden.runtime import RuntimeOptions, open_session

NAMES = sorted(registry.architectures())
PAIRS = [
    (name, info.name)
    for name, architecture in registry.architectures().items()
    for info in datasets().values()
    if not architecture.refusal(info)
]


def smallest_set(name: str) -> Dataset:
    architecture = registry.find(name)
    fitting = [info for info in datasets().values() if not architecture.refusal(info)]
    return load(min(fitting, key=lambda info: info.split_sizes["train"]).name)


def untrained(name: str, dataset: Dataset) -> Trained:
    torch.manual_seed(0)
    architecture = registry.find(name)
    hyperparameters = validate(architecture, {})
    network = architecture.build(hyperparameters, dataset.info).eval()
    preprocessing = Preprocessing(dataset, architecture.image_side)
    return Trained(architecture, dataset, hyperparameters, 0, network, preprocessing)


def logits(trained: Trained, inputs: Any) -> torch.Tensor:
    answer: torch.Tensor = trained.network(trained.preprocessing(torch.from_numpy(inputs)))
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_one_logit_a_class(name: str) -> None:
    dataset = smallest_set(name)
    answer = logits(untrained(name, dataset), dataset.test.inputs[:5])
    assert answer.shape == (5, len(dataset.info.class_labels))
    assert answer.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_rows(name: str) -> None:
    dataset = smallest_set(name)
    trained = untrained(name, dataset)
    with torch.no_grad():
        together = logits(trained, dataset.test.inputs[:6])
        alone = torch.cat([logits(trained, dataset.test.inputs[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    dataset = smallest_set(name)
    trained = untrained(name, dataset)
    trained.network.train()
    batch = dataset.train.inputs[:32]
    labels = torch.from_numpy(dataset.train.labels[:32])
    functional.cross_entropy(logits(trained, batch), labels).backward()
    for parameter, tensor in trained.network.named_parameters():
        assert tensor.grad is not None, parameter
        assert tensor.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", NAMES)
def test_it_can_learn_eight_examples_by_heart(name: str) -> None:
    dataset = smallest_set(name)
    trained = untrained(name, dataset)
    trained.network.train()
    inputs, labels = dataset.train.inputs[:8], torch.from_numpy(dataset.train.labels[:8])
    optimizer = torch.optim.Adam(trained.network.parameters(), lr=3e-3)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits(trained, inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(("name", "dataset_name"), PAIRS)
def test_the_export_is_the_network(name: str, dataset_name: str) -> None:
    dataset = load(dataset_name)
    served = ServedClassifier(untrained(name, dataset)).eval()
    example = torch.from_numpy(dataset.train.inputs[:2])
    model = export(served, example, dataset.info.input_name)
    session = open_session(model.SerializeToString(), RuntimeOptions(device="cpu"))
    assert check_parity(served, session, dataset) <= 1e-4
    assert [spec.name for spec in session.inputs] == [dataset.info.input_name]
    assert [spec.shape[0] for spec in (*session.inputs, *session.outputs)] == [-1, -1, -1]
    probabilities = run_onnx(session, dataset.test.inputs[:7])["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    text = str(model)
    assert ".py" not in text, "source paths in the artefact"


@pytest.mark.parametrize("name", NAMES)
def test_its_hyperparameters_explain_themselves(name: str) -> None:
    schema = hyperparameters_of(name).model_json_schema()
    assert schema["additionalProperties"] is False
    for field, described in schema["properties"].items():
        assert described["description"], field
        assert "default" in described, field


@pytest.mark.parametrize("name", NAMES)
def test_it_names_its_source(name: str) -> None:
    architecture = registry.find(name)
    assert architecture.name == name
    assert architecture.summary
    assert any(c.isdigit() for c in architecture.source), "a source has a year"


@pytest.mark.parametrize(
    ("network", "parameters"),
    [(LeNet5(), 61_706), (MLP(30, 2), 4_130), (MLP(13, 3, hidden_sizes=()), 42)],
    ids=["lenet5", "mlp", "mlp without hidden layers"],
)
def test_parameter_counts_are_as_documented(network: nn.Module, parameters: int) -> None:
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        registry.register(registry.find("lenet5"))
