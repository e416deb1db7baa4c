"""Operations against PyTorch's own counter, memory and the rest by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from services.explanation.complexity import complexity
from wintergarden.errors import InvalidArgument


class Pair(nn.Module):
    """Two outputs, as the exporter of these tests wants them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.network(x)
        y = y[0] if isinstance(y, tuple) else y
        return y, y.softmax(-1)


NETWORKS = {
    "mlp": (nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 2)), (1, 30)),
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=4), nn.MaxPool2d(2), nn.ConvTranspose2d(8, 4, 3, stride=2),
            nn.Flatten(), nn.LazyLinear(10),
        ),
        (1, 3, 32, 32),
    ),
    "attention": (
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0), (1, 7, 16)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_those_that_pytorch_counts(name: str, export_of) -> None:
    network, shape = NETWORKS[name]
    x = torch.randn(shape)
    network = Pair(network.eval())
    network(x)
    backend = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, backend:
        network.train()(x)  # in eval mode one fused operator hides them
    model = export_of(network.eval(), np.repeat(x.numpy(), 2, axis=0), "x", dynamo=True)
    found = complexity(model)
    expected = counter.get_total_flops()
    # What is not a product (activations, biases, norms) comes on top.
    assert expected <= found.operations <= 1.35 * expected
    assert found.parameters == pytest.approx(
        sum(p.numel() for p in network.parameters()), rel=0.03
    )  # the exporter drops what is zero
    assert found.uncounted == ()
    twice = complexity(model, rows=2)
    assert twice.operations == pytest.approx(2 * found.operations, rel=0.01)


def parse(body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {body}')


def test_memory_is_what_is_alive_together() -> None:
    """Three tensors of 40 bytes; the first is gone when the third comes."""
    model = parse(
        "chain (float[n, 10] x) => (float[n, 10] c) { a = Relu (x) b = Relu (a) c = Relu (b) }"
    )
    found = complexity(model)
    assert found.activation_bytes == 120
    assert found.peak_activation_bytes == 80
    assert found.operations == 30
    assert found.parameters == 0


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_cost_in_proportion_to_length(kind, gates: int, export_of) -> None:
    network = kind(5, 8, bidirectional=True, batch_first=True)
    model = export_of(Pair(network), np.zeros((2, 9, 5), np.float32), "x")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[1].dim_param = "time"
    ten, forty = (complexity(model, length=length).operations for length in (10, 40))
    products = 10 * 2 * 2 * gates * 8 * (5 + 8)
    assert products <= ten <= 1.4 * products
    assert forty == pytest.approx(4 * ten, rel=0.01)


def test_a_loop_is_counted_once_and_said_to_be() -> None:
    model = parse(
        """loops (float[n, 4] x, int64 times) => (float[n, 4] y) <bool go = {1}>
        { y = Loop (times, go, x) <body = body (int64 i, bool c, float[n, 4] s)
            => (bool d, float[n, 4] t) { d = Identity (c)  t = Relu (s) }> }"""
    )
    found = complexity(model)
    assert "Loop" in found.uncounted


def test_sizes_must_fit() -> None:
    model = parse(
        """fits (float[n, t] x) => (float[n, 3] y) <float[5, 3] w = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}>
        { y = MatMul (x, w) }"""
    )
    assert complexity(model, length=5).operations == 30
    with pytest.raises(InvalidArgument, match="does not take 1 rows of length 7"):
        complexity(model, length=7)
