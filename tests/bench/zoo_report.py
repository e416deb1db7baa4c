"""The table of docs/zoo.md: every architecture trained, exported, timed and explained here.

python tests/bench/zoo_report.py                every row that has no result yet, then the page
python tests/bench/zoo_report.py lenet5 segnet  these rows anew, then the page
python tests/bench/zoo_report.py --page         the page alone, from the results there are
python tests/bench/zoo_report.py --list

Each row runs in a process of its own, whose peak of memory is measured; results are kept in
build/zoo/<row>.json, so that a run that broke off goes on. Times are of the machine it ran on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

RESULTS = ROOT / "build" / "zoo"
PAGE = ROOT / "docs" / "zoo.md"
BEGIN, END = "<!-- made by make zoo-report -->", "<!-- end -->"
ROW_SECONDS = 3600.0
LATENCY_SECONDS = 2.0
FULL_CLASSES = 1000
SCORES = ("test_accuracy", "test_mean_iou")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the row.
        architecture: to train.
        dataset: to train it on; empty: random pictures of `side` pixels and 1 000 classes, to
            which an untrained network of full size is exported.
        hyperparameters: other than the defaults.
        metric: what the bar is about; empty: that it trains, exports, serves.
        least: the bar; at least so much.
        bar: where it comes from.
        side: see `dataset`.
    """

    name: str
    architecture: str
    dataset: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    metric: str = ""
    least: float = 0.0
    bar: str = ""
    side: int = 224


def _image_rows() -> Iterable[Row]:
    """What is too large for a CPU and minutes is trained at a share of its width."""
    small = {"epochs": 4, "batch_size": 32}
    for name, width, more in (
        ("alexnet", 0.25, {}),
        ("alexnet", 0.25, {"variant": "paper"}),
        ("vgg11", 0.125, {}),
        ("vgg13", 0.125, {}),
        ("vgg16", 0.125, {"epochs": 8}),
        ("vgg19", 0.125, {"epochs": 8}),
        ("googlenet", 0.25, {}),
        ("googlenet", 0.25, {"variant": "paper"}),
        ("resnet18", 0.25, {}),
        ("resnet50", 0.25, {}),
    ):
        label = f"{name}-paper" if "variant" in more else name
        values = {**small, "width": width, **more}
        yield Row(label, name, "mnist-5k", values, bar="trains, exports, serves")


ROWS: tuple[Row, ...] = (
    Row("linear-values", "linear", "diabetes", {"l2": 0.0}, "test_r2", 0.326,
        "scikit-learn's LinearRegression, 0.336, less 0.01"),
    Row("linear-classes", "linear", "breast-cancer", {"l2": 2 / 375}, "test_accuracy", 0.9637,
        "scikit-learn's LogisticRegression, C = 1, 0.9737, less 0.01"),
    Row("perceptron", "perceptron", "breast-cancer", {}, "test_accuracy", 0.927,
        "scikit-learn's Perceptron, 0.947, less 0.02"),
    *(
        Row(f"mlp1-{name}", "mlp", f"function-{name}",
            {"hidden_sizes": [64], "l2": 0.0, "epochs": 400, "learning_rate": 0.02}, "test_r2",
            least, "the function without its noise")
        for name, least in (("abs", 0.99), ("sin", 0.99), ("step", 0.95))
    ),
    Row("fcn", "mlp", "breast-cancer", {}, "test_accuracy", 0.96, "LECTURE §1"),
    Row("conv-op", "convolution", "mnist-5k",
        bar="equal to scipy.signal: tests/unit/trainer/test_convolution.py"),
    Row("lenet5", "lenet5", "mnist-5k", {}, "test_accuracy", 0.98, "LECTURE §2"),
    Row("lenet5-stochastic", "lenet5", "mnist-5k", {"pooling": "stochastic"},
        bar="exports, parity of the serve form"),
    Row("segnet", "segnet", "digit-masks", {}, "test_mean_iou", 0.80, "LECTURE §2"),
    Row("segnet-11", "segnet", "digit-scenes", {}, bar="reported"),
    Row("textcnn", "textcnn", "languages", {}, "test_accuracy", 0.701,
        "bag-of-words logistic regression (tf-idf, C = 10), 0.706, less 0.005"),
    *_image_rows(),
    Row("alexnet-full", "alexnet", bar="exports, serves, is explained"),
    Row("alexnet-paper-full", "alexnet", hyperparameters={"variant": "paper"}, side=227,
        bar="exports, serves, is explained"),
    Row("googlenet-full", "googlenet", bar="exports, serves, is explained"),
    Row("googlenet-paper-full", "googlenet", hyperparameters={"variant": "paper"},
        bar="exports, serves, is explained"),
    Row("resnet50-full", "resnet50", bar="exports, serves, is explained"),
    Row("vgg16-full", "vgg16", bar="exports, serves, is explained"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", help="run this row in this process and print its result")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(row.name for row in ROWS))
    elif arguments.one:
        (row,) = (row for row in ROWS if row.name == arguments.one)
        print(json.dumps(measure(row, arguments.threads)))
    else:
        wanted = arguments.rows or [row.name for row in ROWS if not result_path(row.name).exists()]
        for name in [] if arguments.page else wanted:
            run_apart(name, arguments.threads)
        write_page()


def result_path(name: str) -> Path:
    return RESULTS / f"{name}.json"


def run_apart(name: str, threads: int) -> None:
    started = time.perf_counter()
    command = [sys.executable, __file__, "--one", name, "--threads", str(threads)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=ROW_SECONDS)
        failed = "" if ran.returncode == 0 else (ran.stderr.strip().splitlines() or ["?"])[-1]
    except subprocess.TimeoutExpired:
        failed = f"took more than {ROW_SECONDS:.0f} s"
    result = {"failed": failed} if failed else json.loads(ran.stdout.splitlines()[-1])
    RESULTS.mkdir(parents=True, exist_ok=True)
    result_path(name).write_text(json.dumps(result, indent=1) + "\n")
    print(f"{name}: {time.perf_counter() - started:.0f} s {failed}", flush=True)


def measure(row: Row, threads: int) -> dict[str, Any]:
    """Trains, exports, publishes to a store of its own, times and explains."""
    import torch

    from trainer.export.publish import publish
    from trainer.export.release import make_release
    from trainer.recipes.classification import prepare, train
    from trainer.zoo.registry import find
    from wintergarden.store import open_store

    torch.set_num_threads(threads)
    architecture, dataset = find(row.architecture), _dataset(row)
    hyperparameters = architecture.hyperparameters.parse(row.hyperparameters)
    started = time.perf_counter()
    if row.dataset:
        trained = train(architecture, hyperparameters, dataset, seed=0)
    else:
        trained = prepare(architecture, hyperparameters, dataset, seed=0)
        trained.network.eval()
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        publish(store, row.name, make_release(trained, row.name), "", lambda version: True)
        artefact = store.fetch(row.name, store.latest_version(row.name))
        latencies = _latencies(artefact.path("model.onnx"), dataset.test.inputs, threads)
        explained = _explained(store, row, dataset.test.inputs[:1], threads)
    metrics = artefact.manifest.metrics
    return {
        "metric": metrics.get(row.metric),
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


def _dataset(row: Row) -> Any:
    import numpy as np

    from trainer.data.dataset import Dataset, Split
    from trainer.data.registry import describe, load

    if row.dataset:
        return load(row.dataset)
    generator = np.random.default_rng(0)
    sizes = {"train": 8, "validation": 8, "test": 8}
    info = replace(
        describe("digits"), name="random-pictures", input_shape=(3, row.side, row.side),
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
    import numpy as np

    from wintergarden.runtime import RuntimeOptions, open_session

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


def _explained(store: Any, row: Row, inputs: Any, threads: int) -> dict[str, str]:
    """Each attribution that was run on one example: seconds, or why it does not apply."""
    from services.explanation.attribution_methods import ATTRIBUTIONS
    from services.explanation.explain import ExplainQuery, explain
    from services.explanation.subject import Subjects
    from wintergarden.errors import WintergardenError
    from wintergarden.runtime import RuntimeOptions

    options = RuntimeOptions(device="cpu", intra_op_threads=threads)
    subjects = Subjects(store, options, 2 * 2**30)
    found = {}
    for method in ATTRIBUTIONS:
        begun = time.perf_counter()
        parameters = {parameter.name: parameter.default for parameter in method.parameters}
        budget = 256 if method.name == "kernel_shap" and not row.dataset else 0
        query = ExplainQuery(
            rows=inputs, parameters=parameters, max_evaluations=budget,
            background=0 * inputs if budget else None,
        )  # fmt: skip
        try:
            explain(method.run, subjects.open(row.name, 0, lambda: None), query)
            found[method.name] = f"{time.perf_counter() - begun:.2f} s"
        except WintergardenError as error:
            found[method.name] = f"no: {error.message:.160}"
    return found


def write_page() -> None:
    """Puts the tables between the page's marks."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}")


def tables() -> str:
    results = {
        row.name: json.loads(result_path(row.name).read_text())
        for row in ROWS
        if result_path(row.name).exists()
    }
    lines = [
        "| row | data | hyperparameters | bar | measured | parameters | training | parity "
        "| batch of 1, of 32 | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row, results.get(row.name)) for row in ROWS),
        "",
        "| row | explained by (seconds for one example) | not by |",
        "|---|---|---|",
        *(
            _explained_line(row.name, results[row.name]["explained"])
            for row in ROWS
            if results.get(row.name, {}).get("explained")
        ),
    ]
    return "\n".join(lines)


def _line(row: Row, result: dict[str, Any] | None) -> str:
    settings = ", ".join(f"{name}={_shown(value)}" for name, value in row.hyperparameters.items())
    data = row.dataset or f"{row.side} pixels, 1 000 classes, untrained"
    head = f"| `{row.name}` | {data} | {settings or 'defaults'} | {_bar(row)} |"
    if result is None:
        return f"{head} **not measured** | | | | | |"
    if result.get("failed"):
        return f"{head} **failed**: {result['failed']:.160} | | | | | |"
    seconds = result["train_seconds"]
    latency = result["latency_ms"]
    return (
        f"{head} {_measured(row, result)} | {_spaced(result['parameters'])} "
        f"| {'—' if seconds is None else f'{seconds:.0f} s'} | {result['parity']:.1e} "
        f"| {_ms(latency['1'])}, {_ms(latency['32'])} | {result['peak_gib']:.1f} GiB |"
    )


def _bar(row: Row) -> str:
    return f"{row.metric} ≥ {row.least:g} ({row.bar})" if row.metric else row.bar


def _measured(row: Row, result: dict[str, Any]) -> str:
    if row.metric:
        value = result["metric"]
        return f"{value:.4f}" if value >= row.least else f"**{value:.4f}, below the bar**"
    if not row.dataset:
        return f"{result['megabytes']:.0f} MB"
    shown = {k: v for k, v in result["metrics"].items() if k in SCORES}
    return ", ".join(f"{name} {value:.4f}" for name, value in shown.items())


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 100 else f"{value:.2g} ms"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _spaced(count: float) -> str:
    return f"{round(count):_}".replace("_", " ")


def _explained_line(name: str, explained: dict[str, str]) -> str:
    by = ", ".join(f"{m} {s[:-2]}" for m, s in explained.items() if not s.startswith("no"))
    reasons: dict[str, list[str]] = {}
    for method, said in explained.items():
        if said.startswith("no: "):
            reasons.setdefault(said[4:].replace("|", "/"), []).append(method)
    not_by = "; ".join(f"{', '.join(methods)}: {why}" for why, methods in reasons.items())
    return f"| `{name}` | {by or '—'} | {not_by or '—'} |"


if __name__ == "__main__":
    main()
