"""The training process as its supervisor sees it: a real process, spoken to over its pipes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from trainer.testing_child import ONE_AFTER_ANOTHER, child, order
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.store import open_store
from wintergarden.store.golden import replay
from wintergarden.store.reference import read_reference


def test_it_trains_and_publishes(tmp_path: Path) -> None:
    with child(order(tmp_path)) as trainer:
        metrics = [trainer.hear("metrics") for _ in range(20)]
        asked = trainer.hear("publish?")
        assert asked["version"] == 1
        assert not open_store(str(tmp_path)).list_models(), "visible before it was allowed"
        trainer.send({"publish": True})
        result = trainer.hear("result")
        assert trainer.process.wait(60) == 0
    assert [m["values"]["epoch"] for m in metrics] == list(range(1, 21))
    assert (result["model"], result["version"]) == ("wine", 1)
    assert result["metrics"]["test_accuracy"] >= 0.9
    assert result["metrics"]["export_parity"] <= 1e-4

    artefact = open_store(str(tmp_path)).fetch("wine", 1)
    session = open_session(artefact.read("model.onnx"), RuntimeOptions(device="cpu"))
    names = [output.name for output in session.outputs]
    replay(
        lambda inputs: dict(zip(names, session.run(inputs), strict=True)),
        artefact.read("golden.npz"),
        artefact.manifest.tolerances["fp32"],
    )
    reference = read_reference(artefact.read("reference.npz"))
    assert reference.labels is not None
    logits = session.run(reference.inputs)[names.index("logits")]
    accuracy = float((np.argmax(logits, axis=1) == reference.labels).mean())
    assert accuracy == pytest.approx(result["metrics"]["test_accuracy"])
    assert artefact.manifest.lineage.job_id == "job-1"
    assert artefact.manifest.lineage.seed == 3
    assert len(reference.background) == 100
    assert safetensors.numpy.load(artefact.read("weights.safetensors")).keys() > {
        "network.layers.1.weight",
        "preprocessing.mean",
    }
    assert b"test_accuracy" in artefact.read("card/README.md")


def test_without_leave_nothing_is_published(tmp_path: Path) -> None:
    with child(order(tmp_path)) as trainer:
        trainer.hear("publish?")
        trainer.send({"publish": False})
        assert trainer.hear("error")["kind"] == "cancelled"
        assert trainer.process.wait(60) == 1
    assert not open_store(str(tmp_path)).list_models()


def test_alone_it_publishes_unasked_and_the_same_order_gives_the_same_bytes(tmp_path: Path) -> None:
    hyperparameters = {"epochs": 3, "dropout": 0.2}
    for version in (1, 2):  # of two jobs: a job has one version, however often it is carried out
        text = json.dumps(order(tmp_path, hyperparameters=hyperparameters, job_id=f"job-{version}"))
        ran = subprocess.run(
            [sys.executable, "-m", "trainer.child", "--alone", text],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        messages = [json.loads(line) for line in ran.stdout.splitlines()]
        assert (messages[-1]["type"], messages[-1]["version"]) == ("result", version)
    store = open_store(str(tmp_path))
    first, second = (store.read_manifest("wine", version) for version in (1, 2))
    assert first.files["model.onnx"] == second.files["model.onnx"]
    assert first.files["golden.npz"] == second.files["golden.npz"]
    assert first.lineage.environment["threads"].isdigit()


def test_what_it_does_not_understand_it_passes_over(tmp_path: Path) -> None:
    with child(order(tmp_path, **LONG)) as trainer:
        trainer.hear("metrics")
        assert trainer.process.stdin is not None
        trainer.process.stdin.write('not json\n[1]\n{"renewed_until": "soon"}\n')
        trainer.hear("metrics")
        trainer.send({"cancel": True})
        assert trainer.hear("error") == {
            "type": "error", "kind": "cancelled", "reason": "cancelled"
        }  # fmt: skip


def test_an_order_without_sense_is_refused() -> None:
    for text, reason in (
        ("", "the order is no JSON object"),
        ("[1]", "the order is no JSON object"),
        ('{"kind": "dance"}', "no kind of job 'dance'; there are train, prepare"),
        ('{"architecture": "mlp", "store_uri": "/s"}', "order dataset: Field required"),
    ):
        ran = subprocess.run(
            [sys.executable, "-m", "trainer.child"], input=text, capture_output=True, text=True
        )
        assert ran.returncode == 1
        error = json.loads(ran.stdout)
        assert error["kind"] == "invalid"
        assert reason in error["reason"]


LONG = {"hyperparameters": {"epochs": 10_000}}


def test_what_has_nothing_to_learn_is_published_like_the_rest(tmp_path: Path) -> None:
    fixed = {"architecture": "convolution", "dataset": "digits", "model": "edges"}
    with child(order(tmp_path, **fixed, hyperparameters={"mode": "same"})) as trainer:
        trainer.hear("publish?")
        trainer.send({"publish": True})
        assert trainer.hear("result")["model"] == "edges"
        assert trainer.process.wait(60) == 0
    artefact = open_store(str(tmp_path)).fetch("edges", 1)
    assert [output.name for output in artefact.manifest.outputs] == ["feature_map"]


@pytest.mark.parametrize("how", ["cancel", "terminate", "lease", "hang up"])
def test_it_stops_at_the_next_step(tmp_path: Path, how: str) -> None:
    with child(order(tmp_path, **LONG)) as trainer:
        trainer.hear("metrics")
        asked = time.monotonic()
        match how:
            case "cancel":
                trainer.send({"cancel": True})
            case "terminate":
                trainer.process.send_signal(signal.SIGTERM)
            case "lease":
                trainer.send({"renewed_until": time.time() + 0.2})
            case "hang up":
                assert trainer.process.stdin is not None
                trainer.process.stdin.close()
                trainer.process.stdin = None
        assert trainer.hear("error")["kind"] == "cancelled"
        assert trainer.process.wait(60) == 1
        assert time.monotonic() - asked < 60
    assert not open_store(str(tmp_path)).list_models()


BAD_ORDERS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"architecture": "resnet"}, "no architecture 'resnet'; there are alexnet, "),
    ({"dataset": "cifar"}, "no data set 'cifar'"),
    ({"architecture": "lenet5"}, "cannot be trained on 'wine'"),
    ({"hyperparameters": {"epochs": -1}}, "'epochs': got -1; allowed is an integer ≥ 1"),
    (
        {"hyperparameters": {"epoch": 1}},
        "no hyperparameter 'epoch'; there are accumulate, batch_size",
    ),
    (
        {"hyperparameters": {"optimizer": "sgd", "learning_rate": 10, "l2": 10}},
        "the loss became",
    ),
    ({"model": "../wine"}, "model name '../wine' is not allowed"),
    ({"store_uri": "ftp://store"}, "store 'ftp://store' is not supported"),
    ({"seed": 2**63}, "order seed: Input should be less than 9223372036854775808"),
    ({"dataset": 3}, "order dataset: Input should be a valid string, got 3"),
)


def test_a_bad_order_is_refused(tmp_path: Path) -> None:
    ran = subprocess.run(
        ONE_AFTER_ANOTHER,
        input="".join(json.dumps(order(tmp_path, **changes)) + "\n" for changes, _ in BAD_ORDERS),
        capture_output=True,
        text=True,
        check=True,
    )
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    errors = [message for message in said if message["type"] == "error"]
    assert {error["kind"] for error in errors} == {"invalid"}
    for error, (_, reason) in zip(errors, BAD_ORDERS, strict=True):
        assert reason in error["reason"]


def test_the_catalogue_is_json() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "trainer.child", "--catalogue"],
        capture_output=True,
        text=True,
        check=True,
    )
    catalogue = json.loads(answer.stdout)
    offered = {entry["name"]: entry for entry in catalogue["architectures"]}
    assert offered["lenet5"]["datasets"] == ["digits", "mnist-5k"]
    assert offered["lenet5"]["hyperparameters_schema"]["properties"]["epochs"]["minimum"] == 1
    assert {entry["name"] for entry in catalogue["datasets"]} >= {"mnist-5k", "wine"}


def test_a_step_that_hangs_does_not_outlive_its_supervisor() -> None:
    hanging = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from wintergarden.worker.control import Control; "
            "Control(last_step_s=0.5).listen(None); time.sleep(600)",
        ],
        stdin=subprocess.PIPE,
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            hanging.wait(3)
        assert hanging.stdin is not None
        hanging.stdin.close()
        assert hanging.wait(60) == 1
    finally:
        hanging.kill()
        hanging.wait()


def test_a_store_out_of_reach_is_worth_another_attempt(tmp_path: Path) -> None:
    nowhere = {
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "nowhere",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
    }
    with child(order(tmp_path, store_uri="s3://bucket/models"), **nowhere) as trainer:
        error = trainer.hear("error")
    assert error["kind"] == "unavailable"
    assert "s3://bucket" in error["reason"]
