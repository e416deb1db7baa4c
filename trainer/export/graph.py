"""A trained network as one ONNX graph, from raw values to what a client wants to know."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from trainer.recipes.task import LOGITS, PROBABILITIES
from trainer.recipes.trained import Trained
from trainer.zoo.recurrent.onnx import exportable
from wintergarden.errors import Unsupported

OPSET = 20
_SHOWN = 500  # characters of the exporter's reasons


class ServedNetwork(nn.Module):
    """What is served: preprocessing, network, and what the task makes of its answer.

    Shape:
        input:  (N, …) float32, in the data set's units.
        output: a tensor for each of `outputs`, such as logits (N, K) and probabilities (N, K).
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.preprocessing = trained.preprocessing
        self.network = trained.network
        self.task = trained.task

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.task.outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        served: tuple[Tensor, ...] = self.task(self.network(self.preprocessing(x)))
        return served


def variable_axes(example_shape: Sequence[int]) -> list[int]:
    """Axes, in a batch, whose length may vary: those of size -1 in one example."""
    return [axis for axis, size in enumerate(example_shape, start=1) if size < 0]


def export(
    served: nn.Module,
    example: Tensor,
    input_name: str,
    lengths: Sequence[int] = (),
    outputs: Sequence[str] = (LOGITS, PROBABILITIES),
) -> onnx.ModelProto:
    """The ONNX graph of a module, with a dynamic batch.

    Args:
        served: in eval mode.
        example: (2, …); one row would let the exporter take the batch for a constant.
        input_name: of the graph's input.
        lengths: further axes of the input that are dynamic.
        outputs: names of what it answers.

    Raises:
        Unsupported: the network cannot be exported, or the exporter froze a dynamic dimension.
    """
    served.eval()
    return export_graph(served, {input_name: example}, {input_name: (0, *lengths)}, outputs)


def export_graph(
    module: nn.Module,
    examples: Mapping[str, Tensor],
    dynamic: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """The ONNX graph of a module of any number of inputs, whose first axes are the batch.

    Args:
        module: in eval mode; takes the inputs by position, in the order of `examples`.
        examples: one of each input, by the input's name.
        dynamic: of each input, the axes that may have any length.
        outputs: names of what it answers.

    Raises:
        Unsupported: the network cannot be exported, or the exporter froze a dynamic dimension.
    """
    # It logs at each export that torchvision, whose operators nobody here uses, is missing.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    # AUTO would freeze them silently.
    shapes = [dict.fromkeys(dynamic[name], torch.export.Dim.DYNAMIC) for name in examples]
    with warnings.catch_warnings():
        # torch 2.13 warns about its own use of its own pytree.
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        try:
            program = torch.onnx.export(
                exportable(module),
                tuple(examples.values()),
                input_names=list(examples),
                output_names=list(outputs),
                dynamic_shapes=_for(module, shapes),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            why = " ".join(str(error.__cause__ or error).split())[:_SHOWN]
            raise Unsupported(f"the network cannot be exported: {why}") from error
    if program is None:
        raise Unsupported("the exporter returned no program")
    model = program.model_proto
    forget_source(model)
    _check_dynamic(model, dynamic)
    _name_batch(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _for(module: nn.Module, shapes: Sequence[dict[int, Any]]) -> tuple[Any, ...]:
    """As the exporter wants them: those of `*rest` are a tuple of their own."""
    parameters = inspect.signature(module.forward).parameters.values()
    plain = [p for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    if len(plain) == len(parameters):
        return tuple(shapes)
    return (*shapes[: len(plain)], tuple(shapes[len(plain) :]))


def _check_dynamic(model: onnx.ModelProto, dynamic: Mapping[str, Sequence[int]]) -> None:
    for given in model.graph.input:
        for axis in dynamic[given.name]:
            size = given.type.tensor_type.shape.dim[axis]
            if not size.dim_param:
                raise Unsupported(
                    f"the exporter froze axis {axis} of {given.name!r} at {size.dim_value}"
                )


def _name_batch(model: onnx.ModelProto) -> None:
    """Calls the first axis of inputs and outputs `batch`, for people who look at the graph."""
    values = [*model.graph.input, *model.graph.output]
    firsts = [value.type.tensor_type.shape.dim[0] for value in values]
    for value, first in zip(values, firsts, strict=True):
        if not first.dim_param:
            raise Unsupported(
                f"the exporter froze the batch of {value.name!r} at {first.dim_value}"
            )
    symbols = {first.dim_param for first in firsts}
    for value in (*values, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in symbols:
                axis.dim_param = "batch"


def forget_source(model: onnx.ModelProto) -> None:
    """Drops stack traces and paths: they change the digest and tell about the machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
