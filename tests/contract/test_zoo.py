"""What every architecture promises, held over the whole registry."""

from __future__ import annotations

from collections.abc import Callable
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
from trainer.recipes.classification import Trained, prepare
from trainer.zoo import registry
from trainer.zoo.lenet5 import LeNet5
from trainer.zoo.mlp import MLP
from wintergarden.errors import DataLoss, Unsupported
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
    architecture = registry.find(name)
    trained = prepare(architecture, architecture.hyperparameters(), dataset, seed=0)
    trained.network.eval()
    return trained


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
    assert check_parity(served, session, dataset).worst <= 1e-4
    assert [spec.name for spec in session.inputs] == [dataset.info.input_name]
    assert [spec.shape[0] for spec in (*session.inputs, *session.outputs)] == [-1, -1, -1]
    probabilities = run_onnx(session, dataset.test.inputs[:7])["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    text = str(model)
    assert ".py" not in text, "source paths in the artefact"


@pytest.mark.parametrize("name", NAMES)
def test_its_hyperparameters_explain_themselves(name: str) -> None:
    schema = registry.find(name).hyperparameters.schema_document()
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


COUNTS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "lenet5": (LeNet5, 61_706),
    "mlp": (lambda: MLP(in_features=30, num_classes=2), 4_130),
}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_as_documented(name: str) -> None:
    create, parameters = COUNTS[name]
    assert sum(p.numel() for p in create().parameters()) == parameters
    documented = type(create()).__doc__ or ""
    assert f"{parameters:_}".replace("_", " ") in documented


def test_a_name_is_registered_once() -> None:
    lenet5 = registry.find("lenet5")
    with pytest.raises(ValueError, match="'lenet5' is registered twice"):
        registry.register(
            "lenet5",
            summary="another",
            source="nobody 2026",
            tasks=lenet5.tasks,
            hyperparameters=lenet5.hyperparameters,
        )


def test_a_frozen_batch_is_refused() -> None:
    class OneRow(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            alone = x[:1] + x.sum(dim=0)
            return alone, alone

    with pytest.raises(Unsupported, match="froze the batch of 'logits' at 1"):
        export(OneRow(), torch.ones(2, 3), "features")


def test_a_graph_that_computes_something_else_is_refused() -> None:
    dataset = load("wine")
    served = ServedClassifier(untrained("mlp", dataset)).eval()
    model = export(served, torch.from_numpy(dataset.train.inputs[:2]), "features")
    session = open_session(model.SerializeToString(), RuntimeOptions(device="cpu"))
    with torch.no_grad():
        next(served.network.parameters())[0, 0] += 0.01
    with pytest.raises(DataLoss, match="the exported graph is not the network: output"):
        check_parity(served, session, dataset)
