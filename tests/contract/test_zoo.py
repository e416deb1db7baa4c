"""What every architecture promises, held over the whole registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.data.dataset import Dataset
from trainer.data.registry import load
from trainer.export.graph import ServedNetwork, export, variable_axes
from trainer.export.parity import check_parity, run_onnx
from trainer.recipes.hyperparameters import SequenceHyperparameters
from trainer.recipes.trained import Trained, prepare
from trainer.zoo import registry
from trainer.zoo.alexnet import AlexNet, PaperAlexNet
from trainer.zoo.convolution import Convolution
from trainer.zoo.googlenet import GoogLeNet, PaperGoogLeNet
from trainer.zoo.lenet5 import LeNet5
from trainer.zoo.linear import Linear
from trainer.zoo.mlp import MLP
from trainer.zoo.perceptron import Perceptron
from trainer.zoo.resnet import ResNet18, ResNet50
from trainer.zoo.segnet import SegNet
from trainer.zoo.textcnn import TextCNN
from trainer.zoo.vgg import VGG11, VGG13, VGG16, VGG19
from wintergarden.errors import DataLoss, InvalidArgument, Unsupported
from wintergarden.runtime import RuntimeOptions, open_session

NAMES = sorted(registry.architectures())

# What makes each small and free of chance, and the data it is tried on; a variant is a line of
# its own, and so is a task.
NETS = {"width": 0.1, "dropout": 0.0}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "alexnet": ("alexnet", "digits", {**NETS, "width": 0.06}),
    "alexnet-paper": ("alexnet", "digits", {**NETS, "width": 0.06, "variant": "paper"}),
    "googlenet": ("googlenet", "digits", NETS),
    "googlenet-paper": ("googlenet", "digits", {**NETS, "variant": "paper"}),
    "lenet5": ("lenet5", "digits", {}),
    "lenet5-stochastic": ("lenet5", "digits", {"pooling": "stochastic"}),
    "linear": ("linear", "wine", {}),
    "linear-of-values": ("linear", "diabetes", {}),
    "mlp": ("mlp", "wine", {}),
    "mlp-of-values": ("mlp", "function-sin", {}),
    "perceptron": ("perceptron", "wine", {}),
    "resnet18": ("resnet18", "digits", {"width": 0.1}),
    "resnet50": ("resnet50", "digits", {"width": 0.05}),
    "segnet": ("segnet", "digit-masks", {"width": 0.1, "stages": 3}),
    "textcnn": ("textcnn", "languages", {"maps": 8, "embed_dim": 8, "dropout": 0.0}),
    **{f"vgg{n}": (f"vgg{n}", "digits", NETS) for n in (11, 13, 16, 19)},
}
RATES = {"linear": 0.1, "linear-of-values": 0.1, **{f"vgg{n}": 1e-3 for n in (11, 13, 16, 19)}}
"""At which eight examples are learnt, where it is not the usual one."""


def test_every_architecture_has_a_small_configuration() -> None:
    # test_convolution and test_zoo_sequences have the others
    learning = {
        name
        for name in NAMES
        if not registry.find(name).is_fixed
        and not issubclass(registry.find(name).hyperparameters, SequenceHyperparameters)
    }
    assert {name for name, _, _ in CASES.values()} == learning


@cache
def loaded(name: str) -> Dataset:
    return load(name)


def untrained(name: str, dataset: Dataset, values: Mapping[str, Any] | None = None) -> Trained:
    architecture = registry.find(name)
    assert not architecture.refusal(dataset.info)
    hyperparameters = architecture.hyperparameters.parse(values or {})
    trained = prepare(architecture, hyperparameters, dataset, seed=0)
    trained.network.eval()
    return trained


@cache
def prepared(case: str) -> Trained:
    """Once for all tests, for it is the data that take the time: texts get their vocabulary."""
    name, dataset, values = CASES[case]
    return untrained(name, loaded(dataset), values)


def small(case: str) -> Trained:
    """With a network of its own, so that no test sees what another did to it."""
    made = prepared(case)
    torch.manual_seed(0)
    return replace(made, network=deepcopy(made.network), task=deepcopy(made.task))


def answers(trained: Trained, inputs: Any) -> Tensor:
    answer: Tensor = trained.network(trained.preprocessing(torch.from_numpy(inputs)))
    return answer


def loss(trained: Trained, rows: int) -> Tensor:
    """In training, with auxiliary classifiers as the recipe weighs them."""
    part = trained.dataset.train
    answer = trained.network(trained.preprocessing(torch.from_numpy(part.inputs[:rows])))
    targets = trained.task.targets(part.labels[:rows])
    main, *auxiliary = answer if isinstance(answer, tuple) else (answer,)
    assert all(logits.shape == main.shape for logits in auxiliary)
    judge = getattr(trained.network, "loss", trained.task.loss)
    weight = getattr(trained.network, "auxiliary_weight", 0.0)
    summed: Tensor = judge(main, targets)
    for other in auxiliary:
        summed = summed + weight * judge(other, targets)
    return summed / rows


@pytest.mark.parametrize("case", CASES)
def test_one_answer_a_class(case: str) -> None:
    trained = small(case)
    info = trained.dataset.info
    answer = answers(trained, trained.dataset.test.inputs[:5])
    pixels = info.input_shape[1:] if info.task == "segmentation" else ()
    assert answer.shape == (5, len(info.class_labels), *pixels)
    assert answer.isfinite().all()


@pytest.mark.parametrize("case", CASES)
def test_a_batch_is_its_rows(case: str) -> None:
    trained = small(case)
    inputs = trained.dataset.test.inputs
    with torch.no_grad():
        together = answers(trained, inputs[:6])
        alone = torch.cat([answers(trained, inputs[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_gets_a_gradient(case: str) -> None:
    trained = small(case)
    trained.network.train()
    loss(trained, 32).backward()
    for parameter, tensor in trained.network.named_parameters():
        assert tensor.grad is not None, parameter
        assert tensor.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("case", CASES)
def test_it_can_learn_eight_examples_by_heart(case: str) -> None:
    trained = small(case)
    trained.network.train()
    optimizer = torch.optim.Adam(trained.network.parameters(), lr=RATES.get(case, 3e-3))
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        step_loss = loss(trained, 8)
        step_loss.backward()
        optimizer.step()
        losses.append(step_loss.item())
        if losses[-1] < 0.1 * losses[0]:
            return
    pytest.fail(f"from {losses[0]} to {losses[-1]}")


@pytest.mark.parametrize("case", CASES)
def test_the_export_is_the_network(case: str) -> None:
    check_export(small(case))


@pytest.mark.parametrize(
    ("name", "dataset"), [("lenet5", "mnist-5k"), ("mlp", "wine"), ("mlp", "digits")]
)
def test_the_export_is_the_network_on_other_sets(name: str, dataset: str) -> None:
    check_export(untrained(name, loaded(dataset)))


def check_export(trained: Trained) -> None:
    dataset = trained.dataset
    served = ServedNetwork(trained).eval()
    example = torch.from_numpy(dataset.train.inputs[:2])
    info = dataset.info
    lengths = variable_axes(info.input_shape)
    model = export(served, example, info.input_name, lengths, served.outputs)
    session = open_session(model.SerializeToString(), RuntimeOptions(device="cpu"))
    assert check_parity(served, session, dataset).worst <= 1e-4
    assert [spec.name for spec in session.inputs] == [info.input_name]
    assert {spec.shape[0] for spec in (*session.inputs, *session.outputs)} == {-1}
    found = run_onnx(session, dataset.test.inputs[:7])
    if "probabilities" in found:
        np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, atol=1e-6)
    assert not [t.name for t in model.graph.initializer if "aux" in t.name]
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
def test_what_is_wrong_is_refused_with_what_is_allowed(name: str) -> None:
    hyperparameters = registry.find(name).hyperparameters
    for field in hyperparameters.model_fields:
        with pytest.raises(InvalidArgument, match=f"'{field}.*: got .*; allowed is ") as caught:
            hyperparameters.parse({field: {"not": "this"}})
        assert not caught.value.message.endswith("allowed is ")


@pytest.mark.parametrize("name", NAMES)
def test_it_names_its_source(name: str) -> None:
    architecture = registry.find(name)
    assert architecture.name == name
    assert architecture.summary
    assert any(c.isdigit() for c in architecture.source), "a source has a year"


COUNTS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "alexnet": (AlexNet, 61_100_840),
    "alexnet-paper": (PaperAlexNet, 60_965_224),
    "googlenet": (GoogLeNet, 13_004_888),
    "googlenet-paper": (PaperGoogLeNet, 13_378_280),
    "lenet5": (LeNet5, 61_706),
    "linear": (lambda: Linear(30, 2), 62),
    "convolution": (Convolution, 9),
    "mlp": (lambda: MLP(in_features=30, num_classes=2), 4_130),
    "perceptron": (lambda: Perceptron(30, 2), 62),
    "resnet18": (ResNet18, 11_689_512),
    "resnet50": (ResNet50, 25_557_032),
    "segnet": (SegNet, 29_449_932),
    "textcnn": (lambda: TextCNN(2002, 71), 226_599),
    "vgg11": (VGG11, 132_863_336),
    "vgg13": (VGG13, 133_047_848),
    "vgg16": (VGG16, 138_357_544),
    "vgg19": (VGG19, 143_667_240),
}


def abstract(case: str) -> nn.Module:
    with torch.device("meta"):  # half a gigabyte of weights that nobody looks at
        return COUNTS[case][0]()


def spelled(count: int) -> str:
    return f"{count:_}".replace("_", " ")


@pytest.mark.parametrize("case", COUNTS)
def test_parameter_counts_are_as_documented(case: str) -> None:
    network, parameters = abstract(case), COUNTS[case][1]
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert spelled(parameters) in (type(network).__doc__ or "")


@pytest.mark.parametrize(
    ("case", "served"), [("googlenet", 6_624_904), ("googlenet-paper", 6_998_552)]
)
def test_what_is_served_has_no_auxiliary_classifiers(case: str, served: int) -> None:
    network = abstract(case)
    counts = {name: p.numel() for name, p in network.named_parameters() if "aux" not in name}
    assert sum(counts.values()) == served
    assert spelled(served) in (type(network).__doc__ or "")


LAYOUTS: dict[str, dict[str, list[int]]] = json.loads(
    (Path(__file__).parent / "torchvision_layouts.json").read_text()
)
"""Keys and shapes of torchvision's state dicts, which its weights have."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_takes_the_weights_of_torchvision(name: str) -> None:
    has = {key: list(tensor.shape) for key, tensor in abstract(name).state_dict().items()}
    assert has == LAYOUTS[name]


@pytest.mark.parametrize("case", CASES)
def test_its_head_is_what_depends_on_the_number_of_classes(case: str) -> None:
    network = small(case).network
    heads = getattr(network, "head", ())
    for head in heads:
        assert any(name.startswith(f"{head}.") for name in network.state_dict()), head
    if CASES[case][0] in LAYOUTS:
        assert heads


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
    served = ServedNetwork(untrained("mlp", dataset)).eval()
    model = export(served, torch.from_numpy(dataset.train.inputs[:2]), "features")
    session = open_session(model.SerializeToString(), RuntimeOptions(device="cpu"))
    with torch.no_grad():
        next(served.network.parameters())[0, 0] += 0.01
    with pytest.raises(DataLoss, match="the exported graph is not the network: output"):
        check_parity(served, session, dataset)
