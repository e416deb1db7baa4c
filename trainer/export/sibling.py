"""One graph of a family as a version: what all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import safetensors.torch

from trainer.data.dataset import Array
from trainer.decoding.compose import LENGTHS, SCORES, TOKENS
from trainer.export.card import CARD_FOLDER, write_card
from trainer.export.charts import Chart
from trainer.export.fields import make_fields
from trainer.export.graph import ServedNetwork
from trainer.export.parity import TOLERANCE, Parity
from trainer.export.release import Release
from trainer.export.sequence_parity import run
from trainer.recipes.trained import Trained
from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.store import ManifestFields, TensorInfo
from wintergarden.store.golden import replay, write_golden
from wintergarden.store.names import CARD, GOLDEN, MODEL, REFERENCE, WEIGHTS


@dataclass(frozen=True)
class Graph:
    """A graph, and what is known of it.

    Attributes:
        model: the ONNX file.
        session: that runs it.
        parity: with the network.
        inputs: for its manifest.
        outputs: for its manifest.
    """

    model: onnx.ModelProto
    session: Session
    parity: Parity
    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]


def opened(model: onnx.ModelProto) -> Session:
    """A session of a graph that was just made."""
    return open_session(model.SerializeToString(deterministic=True), RuntimeOptions(device="cpu"))


def written(tokens: str, scores: str) -> list[TensorInfo]:
    """Of graphs that write whole texts, what comes out; told are the meanings that differ."""
    return [
        TensorInfo(name=TOKENS, datatype="INT64", shape=(-1, -1), meaning=tokens),
        TensorInfo(
            name=LENGTHS, datatype="INT64", shape=(-1,),
            meaning="how many tokens were written, the end among them",
        ),
        TensorInfo(name=SCORES, datatype="FP32", shape=(-1,), units="nats", meaning=scores),
    ]  # fmt: skip


def release_of(
    trained: Trained,
    model: str,
    suffix: str,
    graph: Graph,
    *,
    golden: tuple[Mapping[str, Array], Mapping[str, Array]],
    metrics: Mapping[str, float],
    fields: Mapping[str, object],
    charts: Sequence[Chart] = (),
    reference: bytes = b"",
    has_weights: bool = False,
) -> Release:
    """The release of one graph.

    Args:
        trained: the network.
        model: the family's name.
        suffix: what the graph's own name has behind it.
        graph: the graph.
        golden: inputs, and what PyTorch answers to them.
        metrics: for the manifest.
        fields: of the manifest that are not those of other networks.
        charts: for the card.
        reference: content of `reference.npz`; empty: none.
        has_weights: whether the network's weights travel with it.

    Raises:
        DataLoss: the graph does not answer the golden outputs.
    """
    content = graph.model.SerializeToString(deterministic=True)
    inputs, outputs = golden
    largest = max(
        (float(np.abs(a).max(initial=0.0)) for a in outputs.values() if a.dtype.kind == "f"),
        default=1.0,
    )
    tolerance = TOLERANCE * max(1.0, largest)
    packed = write_golden(inputs, outputs)
    # As whoever loads the version will do: what would be refused there is not published here.
    replay(lambda feeds: run(graph.session, feeds), packed, tolerance)
    measured = {**metrics, "bytes": float(len(content)), "export_parity": graph.parity.worst}
    whole: ManifestFields = make_fields(trained, measured).model_copy(
        update={
            "family": model,
            "inputs": tuple(graph.inputs),
            "outputs": tuple(graph.outputs),
            "tolerances": {"fp32": tolerance},
            "parity": {"fp32": graph.parity.relative},
            **fields,
        }
    )
    files = {
        MODEL: content,
        GOLDEN: packed,
        CARD: write_card(f"{model}{suffix}", trained, whole, charts).encode(),
        **{f"{CARD_FOLDER}/{chart.name}": chart.content for chart in charts},
    }
    if reference:
        files[REFERENCE] = reference
    if has_weights:
        files[WEIGHTS] = safetensors.torch.save(ServedNetwork(trained).state_dict())
    return Release(files, whole, tuple(charts), suffix)
