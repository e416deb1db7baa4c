"""Matrix products."""

from __future__ import annotations

from services.explanation.backprop.broadcasting import reduce_to
from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("MatMul")
def matmul(op: Operation, g: Value) -> Gradients:
    """Y = A B for stacks of matrices; a vector stands for one row on the left, a column right."""
    a, b = op.inputs
    vectors = [axis for x, axis in ((a, -2), (b, -1)) if x.rank == 1]
    batch = (op.outputs[0].shape or ())[: op.outputs[0].rank + len(vectors) - 2]
    left = a.unsqueeze([0]).shaped((1, *a.shape)) if a.rank == 1 and a.shape else a
    right = b.unsqueeze([1]).shaped((*b.shape, 1)) if b.rank == 1 and b.shape else b
    if vectors:
        g = g.unsqueeze(vectors)
    grad_left = reduce_to((g @ _swapped(right)).shaped((*batch, *_matrix(left))), left)
    grad_right = reduce_to((_swapped(left) @ g).shaped((*batch, *_matrix(right))), right)
    return [
        grad_left.squeeze([0]) if a.rank == 1 else grad_left,
        grad_right.squeeze([1]) if b.rank == 1 else grad_right,
    ]


@rules("Gemm")
def gemm(op: Operation, g: Value) -> Gradients:
    """Y = α A' B' + β C, where a prime may transpose."""
    a, b = op.inputs[:2]
    alpha, beta = op.attribute("alpha", 1.0), op.attribute("beta", 1.0)
    flip_a, flip_b = op.attribute("transA", 0), op.attribute("transB", 0)

    def product(left: Value, right: Value, flip_left: int, flip_right: int) -> Value:
        flips = {"transA": flip_left, "transB": flip_right}
        return op.build.emit("Gemm", left, right, alpha=alpha, **flips)

    grad_a = product(b, g, flip_b, 1) if flip_a else product(g, b, 0, 1 - flip_b)
    grad_b = product(g, a, 1, flip_a) if flip_b else product(a, g, 1 - flip_a, 0)
    if not op.has_input(2):
        return [grad_a, grad_b]
    full = g if beta == 1.0 else g * beta
    return [grad_a, grad_b, reduce_to(full.shaped(op.outputs[0].shape), op.inputs[2])]


def _swapped(x: Value) -> Value:
    return x.transpose([*range(x.rank - 2), x.rank - 1, x.rank - 2])


def _matrix(x: Value) -> tuple[int | str | None, ...]:
    return (x.shape or ())[-2:]
