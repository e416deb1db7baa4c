"""One forward node as a backward rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx
from onnx import helper

from services.explanation.backprop.values import Builder, Value
from wintergarden.errors import Unsupported


@dataclass(frozen=True)
class Operation:
    """A node's tensors, attributes and constants, and the builder to answer with.

    Attributes:
        node: The forward node.
        inputs: Its inputs; an optional one that was left out in the middle is falsy.
        outputs: Its outputs.
        build: Appends backward nodes.
        constant_of: The array behind a tensor name, or None when it is computed.
        gradient_of: The gradient by one of the outputs, None where nothing depends on it.
        active: Names of the tensors that depend on what is differentiated by.
        is_bounded: No derivative on the way is infinite anywhere, so a product with zero is zero.
        baseline: The same tensor in the pass on the baseline; itself where the passes agree.
    """

    node: onnx.NodeProto
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    build: Builder
    constant_of: Callable[[str], npt.NDArray[Any] | None]
    gradient_of: Callable[[Value], Value | None]
    active: Collection[str]
    is_bounded: bool
    baseline: Callable[[Value], Value]

    def attribute(self, name: str, default: Any = None) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def has_input(self, index: int) -> bool:
        return index < len(self.inputs) and bool(self.inputs[index])

    def is_active(self, index: int) -> bool:
        """Whether the input at `index` depends on what is differentiated by."""
        return self.has_input(index) and self.inputs[index].name in self.active

    def gradient_or_zeros(self, output: Value) -> Value:
        return self.gradient_of(output) or output.zeros_like()

    def constant(self, index: int) -> npt.NDArray[Any] | None:
        """The array at an input if it is an initialiser or a Constant node, else None."""
        return self.constant_of(self.inputs[index].name) if self.has_input(index) else None

    def extra_output(self, index: int, elem_type: int) -> Value:
        """An optional output of the forward node, demanded if the model did not ask for it."""
        while len(self.node.output) <= index:
            self.node.output.append("")
        if not self.node.output[index]:
            first = next(name for name in self.node.output if name)
            self.node.output[index] = f"{first}.output{index}"
        return Value(self.build, self.node.output[index], elem_type)

    def again(self, first: Value) -> Value:
        """The same operator once more, on `first` in place of its first input."""
        attributes = {a.name: helper.get_attribute_value(a) for a in self.node.attribute}
        return self.build.emit(self.node.op_type, first, *self.inputs[1:], **attributes)

    def normalised_axis(self, axis: int) -> int:
        return axis + self.inputs[0].rank if axis < 0 else axis

    def refusal(self, reason: str) -> Unsupported:
        """The typed error for a variant of the operator that has no backward form here."""
        return refuse([self.node], reason)


def refuse(nodes: list[onnx.NodeProto], reason: str) -> Unsupported:
    """An error that names the operators, their nodes and the way out."""
    named = ", ".join(
        f"{node.domain + '.' if node.domain else ''}{node.op_type} (node '{_label(node)}')"
        for node in nodes
    )
    return Unsupported(
        f"cannot differentiate {named}: {reason}; "
        "methods without gradients, such as kernel_shap, still work on this model"
    )


def _label(node: onnx.NodeProto) -> str:
    return node.name or f"→ {node.output[0]}"
