"""The models that servers are compared on: random weights from a fixed seed, as ONNX files.

tiny   FP32 [n, 4]          y = x + 1: nothing but overhead
lenet  FP32 [n, 1, 28, 28]  LeNet-5, about 0.1 ms
cnn    FP32 [n, 3, 64, 64]  ResNet-18's layers, 10 to 20 ms on one core
lstm   INT64 [n, 64]        two LSTM layers over 64 tokens: many small steps, one after the other
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT, OUTPUT = "x", "y"
TOKENS = 128  # that the LSTM's input may name


class Graph:
    """Builds a chain of operators; every method returns the name of its result."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)
        self._count = 0

    def constant(self, array: np.ndarray) -> str:
        name = self._name()
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, *shape: int, fan_in: int) -> str:
        """He initialisation: keeps the size of the activations."""
        values = self._rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        return self.constant(values.astype(np.float32))

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = self._name()
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(
        self, x: str, channels: tuple[int, int], kernel: int, *, stride: int = 1, pad: int = 0
    ) -> str:
        before, after = channels
        return self.op(
            "Conv",
            x,
            self.weight(after, before, kernel, kernel, fan_in=before * kernel**2),
            self.constant(np.zeros(after, np.float32)),
            strides=[stride] * 2,
            pads=[pad] * 4,
        )

    def pool(self, x: str) -> str:
        return self.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def dense(self, x: str, before: int, after: int) -> str:
        bias = self.constant(np.zeros(after, np.float32))
        return self.op("Gemm", x, self.weight(before, after, fan_in=before), bias)

    def lstm(self, x: str, size: int) -> str:
        """One layer over [t, n, size]."""
        weights = [self.weight(1, 4 * size, size, fan_in=4 * size) for _ in range(2)]
        bias = self.constant(np.zeros((1, 8 * size), np.float32))
        y = self.op("LSTM", x, *weights, bias, hidden_size=size)  # [t, 1, n, size]
        return self.op("Squeeze", y, self.constant(np.array([1])))

    def model(
        self,
        last: str,
        row_in: list[int],
        row_out: list[int],
        datatype: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        self._nodes.append(helper.make_node("Identity", [last], [OUTPUT]))
        graph = helper.make_graph(
            self._nodes,
            "benchmark",
            [helper.make_tensor_value_info(INPUT, datatype, ["n", *row_in])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", *row_out])],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model

    def _name(self) -> str:
        self._count += 1
        return f"t{self._count}"


def tiny() -> onnx.ModelProto:
    g = Graph()
    return g.model(g.op("Add", INPUT, g.constant(np.ones(4, np.float32))), [4], [4])


def lenet() -> onnx.ModelProto:
    g = Graph()
    x = g.pool(g.op("Relu", g.conv(INPUT, (1, 6), 5, pad=2)))  # [n, 6, 14, 14]
    x = g.pool(g.op("Relu", g.conv(x, (6, 16), 5)))  # [n, 16, 5, 5]
    x = g.op("Relu", g.dense(g.op("Flatten", x), 400, 120))
    x = g.op("Relu", g.dense(x, 120, 84))
    return g.model(g.dense(x, 84, 10), [1, 28, 28], [10])


def cnn() -> onnx.ModelProto:
    g = Graph()
    width = 64
    x = g.op("Relu", g.conv(INPUT, (3, width), 3, stride=2, pad=1))
    for stage in range(4):
        for block in range(2):
            grows = stage > 0 and block == 0
            after, stride = (2 * width, 2) if grows else (width, 1)
            y = g.op("Relu", g.conv(x, (width, after), 3, stride=stride, pad=1))
            y = g.conv(y, (after, after), 3, pad=1)
            x = g.op("Relu", g.op("Add", y, g.conv(x, (width, after), 1, stride=2) if grows else x))
            width = after
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    return g.model(g.dense(x, width, 100), [3, 64, 64], [100])


def lstm() -> onnx.ModelProto:
    g = Graph()
    size = TOKENS
    x = g.op("Gather", g.weight(TOKENS, size, fan_in=size), INPUT)
    x = g.op("Transpose", x, perm=[1, 0, 2])  # [64, n, size]
    x = g.lstm(g.lstm(x, size), size)
    last = g.op("Gather", x, g.constant(np.array(-1)), axis=0)
    return g.model(g.dense(last, size, TOKENS), [64], [TOKENS], TensorProto.INT64)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "tiny": tiny,
    "lenet": lenet,
    "cnn": cnn,
    "lstm": lstm,
}


def write(folder: Path) -> None:
    """Writes NAME.onnx for each model, where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in MODELS.items():
        path = folder / f"{name}.onnx"
        if not path.exists():
            onnx.save(build(), path)
