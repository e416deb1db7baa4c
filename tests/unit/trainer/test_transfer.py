"""Weights of another model: checked, adopted, frozen, set free; frozen tensors stay bit by bit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from trainer.data.registry import load
from trainer.export.publish import publish
from trainer.export.release import make_release
from trainer.recipes.optimization import create_optimizer
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.recipes.transfer import Source, head_of, rate_scales
from trainer.recipes.watcher import Watcher
from trainer.sources import find_source, read_state_dict
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument, NotFound
from wintergarden.store import open_store
from wintergarden.store.datasets import open_datasets

MLP = {"hidden_sizes": [16, 8], "epochs": 3, "batch_size": 32}


def trained(source: Source | None = None, seed: int = 1, **values: Any) -> Trained:
    architecture = find("mlp")
    parsed = architecture.hyperparameters.parse(MLP | values)
    return train(architecture, parsed, load("wine"), seed, source=source)


@pytest.fixture(scope="module")
def source() -> Source:
    return Source("other", "other:1 sha256:0", trained(seed=0).network.state_dict())


def same(one: Trained, weights: Any, name: str) -> bool:
    return torch.equal(one.network.state_dict()[name], weights[name])


def test_frozen_tensors_are_the_sources_bit_by_bit(source: Source) -> None:
    got = trained(source, init_from="other", freeze=["layers.1", "layers.4"], ema_decay=0.9)
    for name in ("layers.1.weight", "layers.1.bias", "layers.4.weight", "layers.4.bias"):
        assert same(got, source.weights, name), name
    assert not same(got, source.weights, "layers.7.weight")
    assert got.parent == "other:1 sha256:0"


def test_a_star_freezes_all_but_the_head(source: Source) -> None:
    got = trained(source, init_from="other", freeze=["*"], l2=0.1, l1=0.01)
    kept = [n for n in source.weights if same(got, source.weights, n)]
    assert kept == [n for n in source.weights if not n.startswith("layers.7")]
    assert all(p.requires_grad for p in got.network.parameters())


def test_without_freezing_all_moves_and_the_head_is_new(source: Source) -> None:
    got = trained(source, init_from="other", epochs=1, learning_rate=1e-9)
    close = {n: torch.allclose(t, source.weights[n], atol=1e-6)
             for n, t in got.network.state_dict().items()}  # fmt: skip
    assert [n for n, is_close in close.items() if not is_close] == [
        "layers.7.weight",
        "layers.7.bias",
    ]
    other = trained(source, init_from="other", replace=["layers.4"], epochs=1, learning_rate=1e-9)
    assert not torch.allclose(other.network.state_dict()["layers.4.weight"],
                              source.weights["layers.4.weight"])  # fmt: skip
    assert torch.allclose(other.network.state_dict()["layers.7.weight"],
                          source.weights["layers.7.weight"], atol=1e-6)  # fmt: skip


def test_parts_are_set_free_the_last_first(source: Source) -> None:
    moved: list[list[str]] = []
    architecture = find("mlp")
    parsed = architecture.hyperparameters.parse(
        MLP
        | {"epochs": 6, "init_from": "other", "freeze": ["layers.1", "layers.4"]}
        | {"unfreeze_epochs": 2}
    )

    def look(training: Any, is_last: bool) -> None:
        weights = training.state_dict()["network"]
        moved.append([n for n in ("layers.1.weight", "layers.4.weight")
                      if not torch.equal(weights[n], source.weights[n])])  # fmt: skip

    train(architecture, parsed, load("wine"), 1, Watcher(on_checkpoint=look), source=source)
    per_epoch = len(moved) // 6
    assert moved[2 * per_epoch - 1] == []
    assert moved[2 * per_epoch] == ["layers.4.weight"]
    assert moved[4 * per_epoch - 1] == ["layers.4.weight"]
    assert moved[4 * per_epoch] == ["layers.1.weight", "layers.4.weight"]


def test_frozen_batch_normalisation_keeps_its_statistics() -> None:
    digits, architecture = load("digits"), find("resnet18")
    values = {"epochs": 1, "batch_size": 512, "width": 0.1}
    first = train(architecture, architecture.hyperparameters.parse(values), digits, 0)
    source = Source("r", "r:1", first.network.state_dict())
    parsed = architecture.hyperparameters.parse(values | {"init_from": "r", "freeze": ["*"]})
    got = train(architecture, parsed, digits, 1, source=source).network.state_dict()
    head = head_of(first.network)
    assert head == ("fc",)
    for name, tensor in source.weights.items():
        assert torch.equal(got[name], tensor) != name.startswith("fc."), name


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_rates_fall_from_layer_to_layer(optimizer: str) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(4, 3)
    )
    scales = rate_scales(network, 0.5)
    assert scales == {"0.weight": 0.25, "0.bias": 0.25, "1.weight": 0.25, "1.bias": 0.25,
                      "2.weight": 0.5, "2.bias": 0.5, "4.weight": 1.0, "4.bias": 1.0}  # fmt: skip
    from trainer.recipes.schedule import create_schedule

    for schedule in ("one_cycle", "cosine", "constant"):
        parsed = find("mlp").hyperparameters.parse(
            {"rate_decay": 0.5, "optimizer": optimizer, "schedule": schedule, "l2": 0.3}
        )
        made = create_optimizer(network, parsed)
        running = create_schedule(made, parsed, 10)
        rates = {id(p): g["lr"] for g in made.param_groups for p in g["params"]}
        by_name = {name: rates[id(p)] for name, p in network.named_parameters()}
        assert by_name["2.bias"] == pytest.approx(by_name["4.bias"] / 2)
        assert by_name["1.weight"] == pytest.approx(by_name["4.weight"] / 4)
        assert {g["weight_decay"] for g in made.param_groups} == {0.3, 0.0}
        assert running.state_dict()


def test_a_network_that_is_another_is_told_tensor_by_tensor(source: Source) -> None:
    with pytest.raises(InvalidArgument) as refused:
        trained(source, init_from="other", hidden_sizes=[12, 8])
    assert refused.value.message.startswith("the weights of other are not of this network; of its")
    assert "3 of another shape: layers.1.weight is 16x13 and should be 12x13" in str(refused.value)
    spoilt = dict(source.weights)
    spoilt["stem.weight"] = spoilt.pop("layers.4.weight")
    with pytest.raises(InvalidArgument, match=r"1 missing: layers\.4\.weight; 1 unknown to it: st"):
        trained(Source("s", "s", spoilt), init_from="s")


def test_other_classes_are_no_obstacle(source: Source) -> None:
    weights = dict(source.weights)
    weights["layers.7.weight"], weights["layers.7.bias"] = torch.zeros(99, 8), torch.zeros(99)
    got = trained(Source("s", "s", weights), init_from="s", freeze=["*"])
    assert same(got, weights, "layers.1.weight")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"freeze": ["*"]}, "'freeze'.*nothing without init_from"),
        ({"replace": ["a"]}, "'replace'.*nothing without init_from"),
        ({"unfreeze_epochs": 3}, "'unfreeze_epochs'.*nothing without init_from"),
        ({"init_from": "o", "freeze": ["a b"]}, "'freeze.0'.*allowed is a list of at most 32"),
        ({"init_from": "o", "freeze": ["conv1"]}, "'freeze': the network has no 'conv1'; it has l"),
        ({"init_from": "o", "replace": ["*"]}, r"'replace': the network has no '\*'"),
        ({"init_from": "o", "freeze": ["layers"]}, "'freeze': all of the network"),
        ({"init_from": "o"}, "'init_from': there is nowhere here"),
        ({"init_from": 3}, "'init_from': got 3; allowed is a text of at most 300"),
        ({"rate_decay": 0}, "'rate_decay': got 0; allowed is a number > 0 and ≤ 1"),
        ({"ema_decay": 1.0}, "'ema_decay': got 1.*; allowed is a number ≥ 0 and < 1"),
        ({"class_weights": "few"}, "'class_weights': got 'few'; allowed is one of \"none\""),
    ],
)
def test_refusals(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        trained(**values)


def test_a_model_of_the_store_by_version_label_and_name(tmp_path: Path) -> None:
    store, sets = open_store(str(tmp_path)), open_datasets(str(tmp_path))
    parent = trained(seed=0)
    for _ in range(2):
        manifest = publish(store, "parent", make_release(parent, "parent"))
    assert manifest.version == 2
    for reference in ("parent", "parent:2"):
        found = find_source(reference, store, sets)
        assert found.name == "parent:2"
        assert found.lineage.startswith("parent:2 sha256:")
    got = trained(found, init_from="parent", freeze=["*"])
    assert same(got, parent.network.state_dict(), "layers.1.weight")
    release = make_release(got, "child")
    assert release.fields.lineage.parent == found.lineage
    assert b"Began with the weights of parent:2" in release.files["card/README.md"]
    for reference, message in (("parent:stable", "no label 'stable'"), ("parent:9", "9"),
                               ("nobody", "nobody"), (f"sha256:{'0' * 64}", "upload")):  # fmt: skip
        with pytest.raises(NotFound, match=message):
            find_source(reference, store, sets)


@pytest.mark.parametrize("form", ["safetensors", "torch", "wrapped", "parallel", "served"])
def test_an_uploaded_state_dict(form: str, tmp_path: Path, source: Source) -> None:
    path = tmp_path / "weights"
    weights = dict(source.weights)
    prefix = {"parallel": "module.", "served": "network."}.get(form, "")
    named = {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    if form in ("safetensors", "served"):
        safetensors.torch.save_file(named, path)
    else:
        torch.save({"state_dict": named, "epoch": 3} if form == "wrapped" else named, path)
    sets = open_datasets(str(tmp_path / "store"))
    import hashlib

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sets.uploads.keep(path, digest)
    found = find_source(f"sha256:{digest}", open_store(str(tmp_path / "store")), sets)
    got = trained(found, init_from=found.lineage, freeze=["*"])
    assert same(got, weights, "layers.4.weight")
    assert got.parent == f"sha256:{digest}"


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/wintergarden-bomb"),))


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    for content in (pickle.dumps({"a": Bomb()}), b"", b"\x80", b"PK\x03\x04", b"[1, 2]"):
        path.write_bytes(content)
        with pytest.raises(InvalidArgument, match="weights is no state dict"):
            read_state_dict(path)
    torch.save({"a": Bomb()}, path)
    with pytest.raises(InvalidArgument, match="weights is no state dict"):
        read_state_dict(path)
    torch.save({"a": torch.zeros(2), "note": "x"}, path)
    with pytest.raises(InvalidArgument, match="expected tensors by name, got dict"):
        read_state_dict(path)
    assert not Path("/tmp/wintergarden-bomb").exists()
