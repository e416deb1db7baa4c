"""A trained classifier as one ONNX graph, from raw values to probabilities."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stdout

import onnx
import torch
from torch import Tensor, nn

from trainer.recipes.classification import Trained
from wintergarden.errors import Unsupported

OPSET = 20
LOGITS, PROBABILITIES = "logits", "probabilities"


class ServedClassifier(nn.Module):
    """What is served: preprocessing, network, and both heads.

    Shape:
        input:  (N, …) float32, in the data set's units.
        output: logits (N, K) and probabilities (N, K), float32.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.preprocessing = trained.preprocessing
        self.network = trained.network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(self.preprocessing(x))
        return logits, torch.softmax(logits, dim=1)


def export(served: nn.Module, example: Tensor, input_name: str) -> onnx.ModelProto:
    """The ONNX graph of a module, with a dynamic batch.

    Args:
        served: in eval mode.
        example: (2, …); one row would let the exporter take the batch for a constant.
        input_name: of the graph's input.

    Raises:
        Unsupported: the exporter froze the batch dimension.
    """
    served.eval()
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # The exporter warns about its own dependencies (torch 2.13, onnxscript 0.7).
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            served,
            (example,),
            input_names=[input_name],
            output_names=[LOGITS, PROBABILITIES],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise Unsupported("the exporter returned no program")
    model = program.model_proto
    _forget_source(model)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        if batch.HasField("dim_value"):
            raise Unsupported(
                f"the exporter froze the batch of {value.name!r} at {batch.dim_value}"
            )
    return model


def _forget_source(model: onnx.ModelProto) -> None:
    """Drops stack traces and paths: they change the digest and tell about the machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
