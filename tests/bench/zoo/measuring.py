"""What is measured of one row: it is trained, exported, published, timed and explained."""

from __future__ import annotations

import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from explaining import explained_by
from rows import Row

from services.explanation.explain import ExplainQuery
from trainer.data.dataset import Dataset, Split
from trainer.data.registry import describe, load
from trainer.export.publish import publish
from trainer.export.release import make_release
from trainer.recipes.evaluation import evaluate
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained, prepare
from trainer.zoo.registry import find
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.store import open_store

LATENCY_SECONDS = 2.0
FULL_CLASSES = 1000


def measure(row: Row, threads: int) -> dict[str, Any]:
    """In a process of its own, since the peak of memory is the process's."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    trainings = [_trained(row, dataset, seed) for dataset, seed in _trainings(row)]
    seconds = (time.perf_counter() - started) / len(trainings)
    first, values = trainings[0], [_score(row, trained) for trained in trainings]
    example = first.dataset.test.inputs[:1]
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        publish(store, row.name, make_release(first, row.name), "", lambda version: True)
        artefact = store.fetch(row.name, store.latest_version(row.name))
        latencies = _latencies(artefact.path("model.onnx"), first.dataset.test.inputs, threads)
        # Of a full-size picture without a reference: what a person would wait for.
        more = {} if row.dataset else {"max_evaluations": 256, "background": 0 * example}
        explained = explained_by(store, row.name, ExplainQuery(example, **more), threads)
    metrics = artefact.manifest.metrics
    return {
        "metric": float(np.mean(values)) if row.metric else None,
        "values": values if row.metric else [],
        "metrics": {k: v for k, v in metrics.items() if k.startswith("test_")},
        "parameters": metrics["parameters"],
        "megabytes": metrics["bytes"] / 1e6,
        "train_seconds": seconds if row.dataset else None,
        "parity": metrics["export_parity"],
        "latency_ms": latencies,
        "explained": explained,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "machine": f"{platform.machine()}, {threads} threads",
    }


def _trainings(row: Row) -> Iterator[tuple[Dataset, int]]:
    dataset = load(row.dataset) if row.dataset else _random_pictures(row.side)
    if row.folds:
        yield from ((fold, 0) for fold in _folds(dataset, row.folds))
    else:
        yield from ((dataset, seed) for seed in range(row.seeds))


def _trained(row: Row, dataset: Dataset, seed: int) -> Trained:
    architecture = find(row.architecture)
    hyperparameters = architecture.hyperparameters.parse(row.hyperparameters)
    if row.dataset:
        return train(architecture, hyperparameters, dataset, seed=seed)
    trained = prepare(architecture, hyperparameters, dataset, seed=seed)
    trained.network.eval()
    return trained


def _score(row: Row, trained: Trained) -> float:
    if not row.metric:
        return 0.0
    return evaluate(trained, trained.dataset.test)[row.metric.removeprefix("test_")]


def _folds(dataset: Dataset, count: int) -> Iterator[Dataset]:
    """Each example is in one test part; an eighth of the others is for early stopping."""
    from sklearn.model_selection import StratifiedKFold, train_test_split

    parts = (dataset.train, dataset.validation, dataset.test)
    inputs = np.concatenate([part.inputs for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    for rest, test in StratifiedKFold(count, shuffle=True, random_state=0).split(inputs, labels):
        learnt, judged = train_test_split(
            rest, test_size=1 / 8, stratify=labels[rest], random_state=0
        )
        sizes = {"train": len(learnt), "validation": len(judged), "test": len(test)}
        chosen = [Split(inputs[part], labels[part]) for part in (learnt, judged, test)]
        yield Dataset(replace(dataset.info, split_sizes=sizes), *chosen)


def _random_pictures(side: int) -> Dataset:
    generator = np.random.default_rng(0)
    sizes = {"train": 8, "validation": 8, "test": 8}
    info = replace(
        describe("digits"), name="random-pictures", input_shape=(3, side, side),
        class_labels=tuple(f"class {n}" for n in range(FULL_CLASSES)), split_sizes=sizes,
    )  # fmt: skip
    parts = {
        part: Split(
            generator.random((size, *info.input_shape), np.float32),
            generator.integers(0, FULL_CLASSES, size),
        )
        for part, size in sizes.items()
    }
    return Dataset(info, **parts)


def _latencies(path: Path, inputs: Any, threads: int) -> dict[str, float]:
    """Milliseconds of a batch, the median; of the session alone, without the wire."""
    options = RuntimeOptions(device="cpu", intra_op_threads=threads)
    session = open_session(path.read_bytes(), options)
    found = {}
    for batch in (1, 32):
        feeds = {session.inputs[0].name: np.resize(inputs, (batch, *inputs.shape[1:]))}
        session.run(feeds)
        times: list[float] = []
        until = time.perf_counter() + LATENCY_SECONDS
        while len(times) < 3 or (time.perf_counter() < until and len(times) < 1000):
            begun = time.perf_counter()
            session.run(feeds)
            times.append(time.perf_counter() - begun)
        found[str(batch)] = 1000 * float(np.median(times))
    return found
