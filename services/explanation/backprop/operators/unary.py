"""Functions of one tensor, element by element. Kinks get what PyTorch gives them."""

from __future__ import annotations

import math

from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()

STEEPEST = 3e38
"""Just below the largest float32."""


@rules("Identity")
def identity(op: Operation, g: Value) -> Gradients:
    return [g]


@rules("Dropout")
def dropout(op: Operation, g: Value) -> Gradients:
    training = op.constant(2) if op.has_input(2) else False
    if training is None or bool(training):
        raise op.refusal("it drops at random; export the model in evaluation mode")
    return [g]


@rules("Cast")
def cast(op: Operation, g: Value) -> Gradients:
    return [g.cast(op.inputs[0].elem_type)]


@rules("Neg")
def neg(op: Operation, g: Value) -> Gradients:
    return [-g]


@rules("Relu")
def relu(op: Operation, g: Value) -> Gradients:
    return [gated(op, g)]


def gated(op: Operation, g: Value) -> Value:
    """`g` where a Relu's output is above zero.

    A product with the steepest HardSigmoid takes a third of the time of Where. It is 0 or 1 for
    all numbers but those below 3e-39, which are not normal.
    """
    (y,) = op.outputs
    if op.is_bounded and g.elem_type == TensorProto.FLOAT:
        return g * op.build.emit("HardSigmoid", y, alpha=STEEPEST, beta=0.0)
    return (y > 0).where(g, 0)


@rules("Sigmoid")
def sigmoid(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    return [g * (y * (1 - y))]


@rules("Tanh")
def tanh(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    return [g * (1 - y * y)]


@rules("Exp")
def exp(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    return [g * y]


@rules("Log")
def log(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g / x]


@rules("Sqrt")
def sqrt(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    return [g / (y * 2)]


@rules("Reciprocal")
def reciprocal(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    return [-(g * (y * y))]


@rules("Abs")
def absolute(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g * op.build.emit("Sign", x)]


@rules("Sin")
def sin(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g * op.build.emit("Cos", x)]


@rules("Cos")
def cos(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [-(g * op.build.emit("Sin", x))]


@rules("Tan")
def tan(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    return [g * (y * y + 1)]


@rules("Asin")
def asin(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g / op.build.emit("Sqrt", 1 - x * x)]


@rules("Acos")
def acos(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [-(g / op.build.emit("Sqrt", 1 - x * x))]


@rules("Atan")
def atan(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g / (x * x + 1)]


@rules("Sinh")
def sinh(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g * op.build.emit("Cosh", x)]


@rules("Cosh")
def cosh(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g * op.build.emit("Sinh", x)]


@rules("Asinh")
def asinh(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g / op.build.emit("Sqrt", x * x + 1)]


@rules("Acosh")
def acosh(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g / op.build.emit("Sqrt", x * x - 1)]


@rules("Atanh")
def atanh(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g / (1 - x * x)]


@rules("Erf")
def erf(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g * (op.build.emit("Exp", -(x * x)) * (2 / math.sqrt(math.pi)))]


@rules("Gelu")
def gelu(op: Operation, g: Value) -> Gradients:
    """Hendrycks, Gimpel, 2016, §2: Y = X Φ(X), or with tanh for Φ. https://arxiv.org/abs/1606.08415

    A function of ONNX; with a rule of its own it takes half as many passes over the tensor.
    """
    (x,) = op.inputs
    if op.attribute("approximate", "none") == "tanh":
        scale, cubic = math.sqrt(2 / math.pi), 0.044715
        square = x * x
        y = op.build.emit("Tanh", x * (square * (scale * cubic) + scale))
        inner = square * (1.5 * scale * cubic) + scale / 2
        return [g * (y * 0.5 + 0.5 + x * (1 - y * y) * inner)]
    root = x * math.sqrt(0.5)
    # X φ(X), its constant within the exponent.
    along = root * op.build.emit("Exp", -0.5 * math.log(math.pi) - root * root)
    return [g * (_half_and_half(op.build.emit("Erf", root)) + along)]


def _half_and_half(y: Value) -> Value:
    """(1 + y) / 2 for y within ±1: as a HardSigmoid it is one pass over the tensor, not two."""
    if y.elem_type == TensorProto.FLOAT:
        return y.builder.emit("HardSigmoid", y, alpha=0.5, beta=0.5)
    return y * 0.5 + 0.5


@rules("Softplus")
def softplus(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [g * op.build.emit("Sigmoid", x)]


@rules("LeakyRelu")
def leaky_relu(op: Operation, g: Value) -> Gradients:
    (x,) = op.inputs
    return [(x > 0).where(g, g * op.attribute("alpha", 0.01))]


@rules("Elu")
def elu(op: Operation, g: Value) -> Gradients:
    (x,), (y,) = op.inputs, op.outputs
    return [(x > 0).where(g, g * (y + op.attribute("alpha", 1.0)))]


@rules("Clip")
def clip(op: Operation, g: Value) -> Gradients:
    x = op.inputs[0]
    if op.is_active(1) or op.is_active(2):
        raise op.refusal("a bound that depends on the input")
    if op.has_input(1):
        g = (x >= op.inputs[1]).where(g, 0)
    if op.has_input(2):
        g = (x <= op.inputs[2]).where(g, 0)
    return [g, None, None]


@rules(
    *("Floor", "Ceil", "Round", "Sign", "Hardmax"),
    *("EyeLike", "RandomNormalLike", "RandomUniformLike"),  # look at nothing but the shape
)
def step(op: Operation, g: Value) -> Gradients:
    return [None]


@rules("Softmax")
def softmax(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    axis = [op.attribute("axis", -1)]
    return [y * (g - (g * y).sum(axis))]


@rules("LogSoftmax")
def log_softmax(op: Operation, g: Value) -> Gradients:
    (y,) = op.outputs
    axis = [op.attribute("axis", -1)]
    return [g - op.build.emit("Exp", y) * g.sum(axis)]
