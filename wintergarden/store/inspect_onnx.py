"""Reads an ONNX file of unknown origin, in a process of its own.

    python -I inspect_onnx.py MODEL MAX_NODES

prints one JSON object: {"inputs", "outputs"} or {"error", "kind"}. It is run as a
script with nothing of ours on its path, gives itself little memory and time, and may be killed by
whatever the file does to it; `foreign.py` is its parent.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

CPU_SECONDS = 60
BASE_BYTES = 2 * 2**30
BYTES_PER_MODEL_BYTE = 8  # parsed, serialised again for the checker, shapes inferred

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")

DATATYPES = {
    "BOOL": "BOOL",
    "INT8": "INT8",
    "INT16": "INT16",
    "INT32": "INT32",
    "INT64": "INT64",
    "UINT8": "UINT8",
    "UINT16": "UINT16",
    "UINT32": "UINT32",
    "UINT64": "UINT64",
    "FLOAT16": "FP16",
    "FLOAT": "FP32",
    "DOUBLE": "FP64",
    "STRING": "BYTES",
}


class Refused(Exception):
    """`kind` is the error's name in the house: InvalidArgument or Unsupported."""

    def __init__(self, message: str, kind: str = "InvalidArgument") -> None:
        super().__init__(message)
        self.kind = kind


def inspect(content: bytes, max_nodes: int) -> dict[str, Any]:
    """What an ONNX file takes and gives.

    Raises:
        Refused: it is not valid, or more than we serve.
    """
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise Refused("not an ONNX file: its protobuf cannot be parsed") from error
    if not model.HasField("graph") or not model.graph.node:
        raise Refused("not an ONNX file: it has no graph, or the graph has no nodes")
    functions = {(f.domain, f.name): f for f in model.functions}
    nodes = 0
    for graph in _graphs(model):
        nodes += len(graph.node)
        if nodes > max_nodes:
            raise Refused(f"the graph has more than {max_nodes} nodes")
        _check_nodes(graph, functions)
        _check_data_inside(graph)
    _check_recursion(functions)
    parameters = {tensor.name for tensor in model.graph.initializer}
    inputs = [_tensor(v, "input") for v in model.graph.input if v.name not in parameters]
    try:
        # Stale notes on what lies between harm nobody who runs the model; the checker minds them.
        del model.graph.value_info[:]
        # The checker demands shapes of outputs, which many files lack.
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
    ) as error:
        raise Refused(f"the ONNX checker refuses it: {_short(error)}") from error
    outputs = [_tensor(v, "output") for v in model.graph.output]
    if not inputs or not outputs:
        raise Refused("the graph has no inputs or no outputs")
    return {"inputs": inputs, "outputs": outputs}


def _graphs(model: onnx.ModelProto) -> Iterator[Any]:
    """The graph, the functions and whatever graphs lie in their nodes' attributes."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting.extend(attribute.graphs)


def _check_nodes(graph: Any, functions: dict[tuple[str, str], Any]) -> None:
    for node in graph.node:
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in functions:
            raise Refused(
                f"operator {node.domain}:{node.op_type} is a custom one; allowed are the domains "
                f"{', '.join(d or 'ai.onnx' for d in DOMAINS[1:])} and the file's own functions",
                "Unsupported",
            )


def _check_data_inside(graph: Any) -> None:
    tensors = list(getattr(graph, "initializer", ()))
    sparse = list(getattr(graph, "sparse_initializer", ()))
    for node in graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in (*tensors, *(part for s in sparse for part in (s.values, s.indices))):
        if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
            raise Refused(
                f"tensor {tensor.name[:200]!r} lies in another file; save the model with all its "
                "data inside",
                "Unsupported",
            )


def _check_recursion(functions: dict[tuple[str, str], Any]) -> None:
    """Functions are inlined by whoever runs the model: one that calls itself has no end."""
    finished: set[tuple[str, str]] = set()
    for root in functions:
        path = [] if root in finished else [(root, _calls(root, functions))]
        while path:
            callee = next(path[-1][1], None)
            if callee is None:
                finished.add(path.pop()[0])
            elif any(callee == caller for caller, _ in path):
                raise Refused(f"function {callee[0]}:{callee[1]} calls itself")
            elif callee not in finished:
                path.append((callee, _calls(callee, functions)))


def _calls(
    caller: tuple[str, str], functions: dict[tuple[str, str], Any]
) -> Iterator[tuple[str, str]]:
    waiting = [functions[caller]]
    while waiting:
        for node in waiting.pop().node:
            if (node.domain, node.op_type) in functions:
                yield node.domain, node.op_type
            for attribute in node.attribute:
                waiting.extend([attribute.g, *attribute.graphs])


def _tensor(value: onnx.ValueInfoProto, kind: str) -> dict[str, Any]:
    import onnx

    what = value.type.WhichOneof("value")
    if what != "tensor_type":
        raise Refused(
            f"{kind} {value.name!r:.200} is a {str(what).removesuffix('_type')}; only tensors are "
            "served (scikit-learn: convert with zipmap=False)",
            "Unsupported",
        )
    element = value.type.tensor_type.elem_type
    names = {number: name for name, number in onnx.TensorProto.DataType.items()}
    name = names.get(element, str(element))
    if name not in DATATYPES:
        raise Refused(
            f"{kind} {value.name!r:.200} is of type {name}; served are {', '.join(DATATYPES)}",
            "Unsupported",
        )
    if not value.type.tensor_type.HasField("shape"):
        raise Refused(f"{kind} {value.name!r:.200} declares no shape", "Unsupported")
    shape = [
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else -1
        for d in value.type.tensor_type.shape.dim
    ]
    return {"name": value.name, "datatype": DATATYPES[name], "shape": shape}


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def main() -> None:
    path = Path(sys.argv[1])
    memory = BASE_BYTES + BYTES_PER_MODEL_BYTE * path.stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer: dict[str, Any]
    try:
        answer = inspect(path.read_bytes(), int(sys.argv[2]))
    except Refused as refusal:
        answer = {"error": str(refusal), "kind": refusal.kind}
    except MemoryError:
        answer = {"error": f"reading it takes more than {memory} bytes", "kind": "InvalidArgument"}
    except ImportError as error:
        answer = {
            "error": f"importing models needs the package onnx ({error})",
            "kind": "Unsupported",
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
