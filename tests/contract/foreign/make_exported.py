"""Makes `exported/*.onnx`: small trained models as other frameworks' exporters write them.

Each part needs environments of its own, which is why the files are committed:

    python -m venv /tmp/keras && /tmp/keras/bin/pip install tensorflow-cpu==2.21.0 \
        keras==3.15.1 tf2onnx==1.17.0 scikit-learn==1.9.1 skl2onnx==1.20.0
    /tmp/keras/bin/python tests/contract/foreign/make_exported.py keras sklearn
    .venv/bin/python tests/contract/foreign/make_exported.py torch

Beside each model lies NAME.npz: rows that it was not trained on, and what the framework itself
answers for them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes, load_digits, load_wine

FOLDER = Path(__file__).parent / "exported"
KEPT = 16
"""Rows in each NAME.npz."""


def digits() -> tuple[np.ndarray, np.ndarray]:
    """[N, 8, 8, 1] in [0, 1], and classes."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order].reshape(-1, 8, 8, 1) / 16).astype(np.float32), y[order]


def write(name: str, content: bytes, rows: np.ndarray, **answers: Any) -> None:
    """The model and what is expected of it."""
    (FOLDER / f"{name}.onnx").write_bytes(content)
    np.savez_compressed(
        FOLDER / f"{name}.npz", rows=rows, **{n: np.asarray(a) for n, a in answers.items()}
    )
    print(f"{name}: {len(content)} bytes")


def keras() -> None:
    """Keras 3 on TensorFlow: `Model.export(format="onnx")`, which is tf2onnx."""
    import tempfile

    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    x, y = digits()

    def exported(name: str, model: keras.Model) -> None:
        model.compile(
            keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        model.fit(x[:1400], y[:1400], epochs=20, batch_size=32, verbose=0)
        print(name, "held-out", model.evaluate(x[1400:], y[1400:], verbose=0)[1])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            model.export(str(file), format="onnx", verbose=False)
            content = file.read_bytes()
        kept = x[1400 : 1400 + KEPT]
        write(name, content, kept, answers=model.predict(kept, verbose=0))

    exported(
        "keras_cnn",
        keras.Sequential(
            [
                keras.Input((8, 8, 1), name="image"),
                layers.Conv2D(8, 3, padding="same", use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.MaxPooling2D(2),
                layers.SeparableConv2D(12, 3, padding="same", activation="swish"),
                layers.Flatten(),
                layers.Dropout(0.2),
                layers.Dense(10, activation="softmax"),
            ]
        ),
    )
    exported(
        "keras_gru",
        keras.Sequential(
            [
                keras.Input((8, 8, 1), name="image"),
                layers.Reshape((8, 8)),
                layers.Bidirectional(layers.GRU(12)),
                layers.LayerNormalization(),
                layers.Dense(10, activation="softmax"),
            ]
        ),
    )


def sklearn() -> None:
    """scikit-learn by skl2onnx: two neural models, a forest and boosted trees."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def exported(name: str, model: Any, data: tuple[np.ndarray, np.ndarray]) -> None:
        x, y = data[0].astype(np.float32), data[1]
        order = np.random.default_rng(0).permutation(len(x))
        train, held_out = order[:-40], order[-40:]
        model.fit(x[train], y[train])
        print(name, "held-out", model.score(x[held_out], y[held_out]))
        options = {"zipmap": False} if hasattr(model, "predict_proba") else {}
        graph = to_onnx(model, x[:1], options={id(model): options} if options else None)
        kept = x[held_out[:KEPT]]
        answer = model.predict_proba if options else model.predict
        write(name, graph.SerializeToString(), kept, answers=answer(kept))

    wine = load_wine(return_X_y=True)
    diabetes = load_diabetes(return_X_y=True, scaled=True)
    net = MLPClassifier(hidden_layer_sizes=(16, 8), activation="tanh", max_iter=600, random_state=0)
    exported("sklearn_mlp_classifier", make_pipeline(StandardScaler(), net), wine)
    net = MLPRegressor(hidden_layer_sizes=(16,), max_iter=3000, random_state=0)
    exported("sklearn_mlp_regressor", make_pipeline(StandardScaler(), net), diabetes)
    line = LogisticRegression()
    exported("sklearn_logistic_regression", make_pipeline(StandardScaler(), line), wine)
    forest = RandomForestClassifier(n_estimators=20, max_depth=4, random_state=0)
    exported("sklearn_forest", forest, wine)
    trees = GradientBoostingRegressor(n_estimators=20, random_state=0)
    exported("sklearn_boosted_trees", trees, diabetes)


def torch() -> None:
    """One network by both exporters of PyTorch."""
    import io
    import warnings

    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = digits()
    images, classes = torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(y)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 10),
    )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(12):
        for batch in torch.randperm(1400).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), classes[batch]).backward()
            optimiser.step()
    network.eval()
    print("held-out", (network(images[1400:]).argmax(1) == classes[1400:]).float().mean().item())
    kept = images[1400 : 1400 + KEPT]
    answers = network(kept).detach().numpy()
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, (kept[:2],), dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), **names,
        )  # fmt: skip
        file = io.BytesIO()
        torch.onnx.export(
            network, (kept[:2],), file, dynamo=False, opset_version=17,
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}}, **names,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("the exporter gave no program")
    model = program.model_proto
    graph = model.graph
    tensors = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for noted in (model, graph, *graph.node, *tensors):
        del noted.metadata_props[:]  # source paths of this machine
    write("torch_dynamo", model.SerializeToString(), kept.numpy(), answers=answers)
    write("torch_script", file.getvalue(), kept.numpy(), answers=answers)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for part in sys.argv[1:]:
        {"keras": keras, "sklearn": sklearn, "torch": torch}[part]()
