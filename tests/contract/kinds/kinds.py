"""Kinds of model, each with a small one that every method is tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from wintergarden.store import ManifestFields, ModelStore, TensorInfo
from wintergarden.wire.tensors import datatype_of

EXPORTED = Path(__file__).parents[1] / "foreign" / "exported"
_HEADER = '<ir_version: 9, opset_import: ["" : 20]>\n'


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        title: Of its column.
        what: Which models are of it, for the page.
        model: A small one.
        task: In its manifest.
        rows: Three examples and a background of two after them.
        layer: An inner tensor for methods that look at one, where the default finds none.
    """

    title: str
    what: str
    model: Callable[[], onnx.ModelProto]
    task: str
    rows: np.ndarray
    layer: str = ""

    def publish(self, store: ModelStore, name: str) -> None:
        model = self.model()
        outputs = model.graph.output
        with store.publish(name) as draft:
            draft.write("model.onnx", model.SerializeToString())
            draft.commit(
                ManifestFields(
                    architecture="by-hand",
                    task=self.task,
                    inputs=(
                        TensorInfo(
                            name=model.graph.input[0].name,
                            datatype=datatype_of(self.rows.dtype),
                            shape=(-1, *self.rows.shape[1:]),
                            value_range=(0.0, 1.0) if self.rows.dtype.kind == "f" else None,
                        ),
                    ),
                    outputs=tuple(_described(output) for output in outputs),
                )
            )


def _described(output: onnx.ValueInfoProto) -> TensorInfo:
    kind = output.type.tensor_type
    shape = [dim.dim_value or -1 for dim in kind.shape.dim]
    datatype = datatype_of(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return TensorInfo(name=output.name, datatype=datatype, shape=shape)


def graph(text: str, **shapes: tuple[int, ...]) -> Callable[[], onnx.ModelProto]:
    """A graph in ONNX's text form, with tensors of these names and shapes drawn."""

    def make() -> onnx.ModelProto:
        model = onnx.parser.parse_model(_HEADER + text)
        rng = np.random.default_rng(7)
        for name, shape in shapes.items():
            drawn = rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
            model.graph.initializer.append(numpy_helper.from_array(drawn.astype("f"), name))
        onnx.checker.check_model(model)
        return model

    return make


def _drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).random((5, *shape), np.float32)


TOKENS = np.array([[1, 5, 4, 2, 9, 3], [2, 2, 3, 1, 1, 8], [6, 1, 7, 5, 2, 4],
                   [3, 9, 9, 1, 2, 2], [8, 6, 4, 7, 1, 5]])  # fmt: skip

KINDS = {
    "images": Kind(
        "images",
        "convolutional networks: `lenet5`, `alexnet`, `vgg…`, `googlenet`, `resnet…`, Keras' CNNs",
        graph(
            """g (float[n, 1, 8, 8] image) => (float[n, 3] logits, float[n, 3] probabilities) {
                maps = Conv<pads = [1, 1, 1, 1]>(image, kernels)
                lit = Relu(maps)
                pooled = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(lit)
                flat = Flatten(pooled)
                logits = Gemm(flat, w, b)
                probabilities = Softmax(logits)
            }""",
            kernels=(4, 1, 3, 3), w=(64, 3), b=(3,),
        ),
        "image-classification",
        _drawn(1, 8, 8),
    ),
    "tables": Kind(
        "tables",
        "dense networks and lines: `linear`, `mlp`, scikit-learn's neural and linear models",
        graph(
            """g (float[n, 6] features) => (float[n, 3] logits) {
                first = Gemm(features, v, a)
                hidden = Relu(first)
                logits = Gemm(hidden, w, b)
            }""",
            v=(6, 8), a=(8,), w=(8, 3), b=(3,),
        ),
        "tabular-classification",
        _drawn(6),
        layer="hidden",
    ),
    "values": Kind(
        "values",
        "regressions",
        graph(
            """g (float[n, 6] features) => (float[n, 1] value) {
                first = Gemm(features, v, a)
                hidden = Tanh(first)
                value = Gemm(hidden, w, b)
            }""",
            v=(6, 8), a=(8,), w=(8, 1), b=(1,),
        ),
        "regression",
        _drawn(6),
        layer="hidden",
    ),
    "text-convolutions": Kind(
        "convolutions over tokens",
        "`textcnn`",
        graph(
            """g (int64[n, 6] tokens) => (float[n, 3] logits) {
                embedded = Gather(table, tokens)
                channels = Transpose<perm = [0, 2, 1]>(embedded)
                maps = Conv<pads = [1, 1]>(channels, kernels)
                lit = Relu(maps)
                axis = Constant<value = int64[1] {2}>()
                best = ReduceMax<keepdims = 0>(lit, axis)
                logits = MatMul(best, w)
            }""",
            table=(10, 4), kernels=(5, 4, 3), w=(5, 3),
        ),
        "text-classification",
        TOKENS,
    ),
    "recurrent": Kind(
        "recurrent over tokens",
        "`rnn`, `lstm`, `gru`: classifiers and taggers",
        graph(
            """g (int64[n, 6] tokens) => (float[n, 3] logits) {
                embedded = Gather(table, tokens)
                steps = Transpose<perm = [1, 0, 2]>(embedded)
                all, last = LSTM<hidden_size = 5>(steps, w_in, w_back)
                axis = Constant<value = int64[1] {0}>()
                hidden = Squeeze(last, axis)
                logits = MatMul(hidden, w)
            }""",
            table=(10, 4), w_in=(1, 20, 4), w_back=(1, 20, 5), w=(5, 3),
        ),
        "text-classification",
        TOKENS,
        layer="hidden",
    ),
    "transformers": Kind(
        "transformers over tokens",
        "encoders of `transformer`, BERT-like models",
        graph(
            """g (int64[n, 6] tokens) => (float[n, 3] logits) {
                embedded = Gather(table, tokens)
                normal = LayerNormalization(embedded, scale)
                query = MatMul(normal, w_q)
                key = MatMul(normal, w_k)
                value = MatMul(normal, w_v)
                turned = Transpose<perm = [0, 2, 1]>(key)
                scores = MatMul(query, turned)
                attention = Softmax(scores)
                mixed = MatMul(attention, value)
                added = Add(embedded, mixed)
                bent = Gelu(added)
                axis = Constant<value = int64[1] {1}>()
                hidden = ReduceMean<keepdims = 0>(bent, axis)
                logits = MatMul(hidden, w)
            }""",
            table=(10, 4), scale=(4,), w_q=(4, 4), w_k=(4, 4), w_v=(4, 4), w=(4, 3),
        ),
        "text-classification",
        TOKENS,
        layer="hidden",
    ),
    "trees": Kind(
        "tree ensembles",
        "forests and boosted trees of scikit-learn, XGBoost, LightGBM",
        lambda: onnx.load_model(EXPORTED / "sklearn_forest.onnx"),
        "tabular-classification",
        _drawn(13),
    ),
    "segmentation": Kind(
        "segmentation",
        "`segnet`: a vector of classes at each pixel, explained over a region",
        graph(
            """g (float[n, 1, 8, 8] image) => (float[n, 3, 8, 8] logits) {
                maps = Conv<pads = [1, 1, 1, 1]>(image, kernels)
                lit = Relu(maps)
                logits = Conv<pads = [1, 1, 1, 1]>(lit, w)
            }""",
            kernels=(4, 1, 3, 3), w=(3, 4, 3, 3),
        ),
        "segmentation",
        _drawn(1, 8, 8),
    ),
    "decoders": Kind(
        "decoders",
        "whole sequences from a `Loop` (explain the `.forced` sibling instead); Keras' GRU, which "
        "its exporter writes as a loop",
        graph(
            """g (float[n, 6] features) => (float[n, 3] logits) {
                times = Constant<value = int64 {4}>()
                go = Constant<value = int32 {1}>()
                yes = Cast<to = 9>(go)
                first = MatMul(features, w_in)
                logits = Loop(times, yes, first)<body = step (int64 i, bool on, float[n, 3] state)
                    => (bool still, float[n, 3] next) {
                        still = Identity(on)
                        turned = MatMul(state, w_back)
                        next = Tanh(turned)
                    }>
            }""",
            w_in=(6, 3), w_back=(3, 3),
        ),
        "tabular-classification",
        _drawn(6),
        layer="first",
    ),
    "quantised": Kind(
        "quantised",
        "QuantizeLinear and DequantizeLinear around each layer (ONNX Runtime's static form)",
        graph(
            """g (float[n, 1, 8, 8] image) => (float[n, 3] logits)
            <float s = {0.01}, uint8 z = {128}, float[4] t = {0.02, 0.02, 0.02, 0.02}> {
                q = QuantizeLinear(image, s, z)
                d = DequantizeLinear(q, s, z)
                maps = Conv<pads = [1, 1, 1, 1]>(d, kernels)
                lit = Relu(maps)
                lit_q = QuantizeLinear(lit, s, z)
                lit_d = DequantizeLinear(lit_q, s, z)
                flat = Flatten(lit_d)
                logits = Gemm(flat, w, b)
            }""",
            kernels=(4, 1, 3, 3), w=(256, 3), b=(3,),
        ),
        "image-classification",
        _drawn(1, 8, 8),
    ),
}  # fmt: skip
