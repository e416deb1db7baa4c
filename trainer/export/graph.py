"""A trained network as one ONNX graph, from raw values to what a client wants to know."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn

from trainer.recipes.classification import Trained
from trainer.recipes.tasks import LOGITS, PROBABILITIES
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
    # It logs at each export that torchvision, whose operators nobody here uses, is missing.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # torch 2.13 warns about its own use of its own pytree.
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        try:
            program = torch.onnx.export(
                served,
                (example,),
                input_names=[input_name],
                output_names=list(outputs),
                # AUTO would freeze them silently.
                dynamic_shapes=(dict.fromkeys((0, *lengths), torch.export.Dim.DYNAMIC),),
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
    _name_batch(model)
    _check_lengths(model, lengths)
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_batch(model: onnx.ModelProto) -> None:
    """Calls the first axis of inputs and outputs `batch`, for people who look at the graph."""
    values = [*model.graph.input, *model.graph.output]
    for value in values:
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise Unsupported(
                f"the exporter froze the batch of {value.name!r} at {first.dim_value}"
            )
    symbol = values[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*values, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == symbol:
                axis.dim_param = "batch"


def _check_lengths(model: onnx.ModelProto, lengths: Sequence[int]) -> None:
    for given in model.graph.input:
        for axis in lengths:
            size = given.type.tensor_type.shape.dim[axis]
            if not size.dim_param:
                raise Unsupported(
                    f"the exporter froze axis {axis} of {given.name!r} at {size.dim_value}"
                )


def forget_source(model: onnx.ModelProto) -> None:
    """Drops stack traces and paths: they change the digest and tell about the machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
