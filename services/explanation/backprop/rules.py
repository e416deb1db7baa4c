"""Tables of backward rules: operator → how a gradient passes through it backwards.

A rule sees one forward node and the gradient of the objective by the node's first output, and
returns the gradients by its inputs, in order. It emits whatever it can say; what nobody needs
(gradients by weights) is pruned afterwards. A rule that returns fewer gradients than the node has
inputs says that it cannot differentiate by the rest; `None` says that the gradient is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from services.explanation.backprop.broadcasting import reduce_to
from services.explanation.backprop.operation import Operation
from services.explanation.backprop.values import Value

Gradients = Sequence[Value | None]
Rule = Callable[[Operation, Value], Gradients]


ANSWER_FOR_ALL_OUTPUTS = frozenset({"Split", "LSTM", "GRU", "RNN"})
"""Operators whose rules look at the gradients by all outputs, not by the first alone."""


BOUNDED = frozenset(
    {
        *("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"),
        *("Add", "Sub", "Sum", "Mean", "Mul", "Neg", "Identity", "Dropout", "Cast"),
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "HardSigmoid", "HardSwish"),
        *("Sigmoid", "Tanh", "Softplus", "Gelu", "Erf", "Softmax", "LogSoftmax"),
        *("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "LRN"),
        *("BatchNormalization", "LayerNormalization", "InstanceNormalization", "ReduceL2"),
        *("ReduceMax", "ReduceMean", "ReduceSum", "Resize", "Pad", "Slice", "Concat", "Split"),
        *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Gather"),
        *("DepthToSpace", "SpaceToDepth"),
    }
)
"""Operators whose derivative by what depends on the input is finite wherever they are."""


class RuleTable(Mapping[str, Rule]):
    """An immutable-by-habit mapping that fills itself through its decorator.

    arithmetic = RuleTable()

    @arithmetic("Mul", broadcasts=True)
    def mul(op, g):
        a, b = op.inputs
        return [g * b, g * a]
    """

    def __init__(self, *families: Mapping[str, Rule]) -> None:
        self._rules: dict[str, Rule] = {}
        for family in families:
            for operator, rule in family.items():
                self._add(operator, rule)

    def __call__(self, *operators: str, broadcasts: bool = False) -> Callable[[Rule], Rule]:
        """Register a rule; `broadcasts` sums its answers back to the shapes of the inputs."""

        def register(rule: Rule) -> Rule:
            for operator in operators:
                self._add(operator, _unbroadcast(rule) if broadcasts else rule)
            return rule

        return register

    def overridden_by(self, table: Mapping[str, Rule]) -> RuleTable:
        """This table with some entries exchanged, as guided back-propagation exchanges Relu's.

        Raises:
            KeyError: an override for an operator that has no rule to override.
        """
        if unknown := sorted(set(table) - set(self)):
            raise KeyError(f"no rule to override for {', '.join(unknown)}")
        return RuleTable({**self._rules, **table})

    def _add(self, operator: str, rule: Rule) -> None:
        if operator in self._rules:
            raise ValueError(f"two rules for operator {operator} in one table")
        self._rules[operator] = rule

    def __getitem__(self, operator: str) -> Rule:
        return self._rules[operator]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


def _unbroadcast(rule: Rule) -> Rule:
    def reduced(op: Operation, g: Value) -> Gradients:
        full = op.outputs[0].shape
        pairs = zip(rule(op, g), op.inputs, strict=False)
        return [None if d is None else reduce_to(d.shaped(full), x) for d, x in pairs]

    return reduced
