"""Einstein summation: the gradient by one operand is the sum of the others with the output."""

from __future__ import annotations

import string

from services.explanation.backprop.broadcasting import reduce_to
from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("Einsum")
def einsum(op: Operation, g: Value) -> Gradients:
    terms, output = _subscripts(op)
    return [_by_operand(op, g, index, terms, output) for index in range(len(terms))]


def _by_operand(op: Operation, g: Value, index: int, terms: list[str], output: str) -> Value:
    term, x = terms[index], op.inputs[index]
    others = [(t, v) for i, (t, v) in enumerate(zip(terms, op.inputs, strict=True)) if i != index]
    known = set(output).union(*(t for t, _ in others))
    heard = "".join(letter for letter in term if letter in known)
    equation = f"{','.join([output, *(t for t, _ in others)])}->{heard}"
    gradient = op.build.emit("Einsum", g, *(v for _, v in others), equation=equation)
    if alone := [axis for axis, letter in enumerate(term) if letter not in known]:
        return gradient.unsqueeze(alone).expand_like(x)  # summed on its own: all hear the same
    full = {letter: dim for t, v in zip(terms, op.inputs, strict=True)
            for letter, dim in zip(t, v.shape or (), strict=True) if dim != 1}  # fmt: skip
    return reduce_to(gradient.shaped(tuple(full.get(letter, 1) for letter in term)), x)


def _subscripts(op: Operation) -> tuple[list[str], str]:
    """The terms with a letter for each axis, an ellipsis spelt out."""
    equation = op.attribute("equation").replace(" ", "")
    left, arrow, output = equation.partition("->")
    terms = left.split(",")
    letters = sorted(c for c in set(left) if c.isalpha())
    if not arrow:
        once = [c for c in letters if left.count(c) == 1]
        output = ("..." if "..." in left else "") + "".join(once)
    hidden = [
        v.rank - len(t) + 3 if "..." in t else 0 for t, v in zip(terms, op.inputs, strict=True)
    ]
    spare = [c for c in string.ascii_letters if c not in letters][: max(hidden)]
    spelt = [
        t.replace("...", "".join(spare[len(spare) - n :]))
        for t, n in zip(terms, hidden, strict=True)
    ]
    if any(len(set(t)) != len(t) for t in spelt):
        raise op.refusal(f"equation '{equation}' takes a diagonal")
    return spelt, output.replace("...", "".join(spare))
