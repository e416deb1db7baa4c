"""ONNX graph in, ONNX graph out that also computes gradients."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from services.explanation.backprop.captures import reads
from services.explanation.backprop.comparison import Comparison, baseline_name
from services.explanation.backprop.forward import ForwardGraph
from services.explanation.backprop.tables import COMPARING, FOLDING, table
from services.explanation.backprop.tape import Tape
from services.explanation.backprop.values import Builder, Value
from wintergarden.errors import InvalidArgument, Unsupported


def differentiate(
    model: onnx.ModelProto,
    wrt: str | Sequence[str],
    rule: str = "gradient",
    output: str | None = None,
) -> onnx.ModelProto:
    """Add the backward pass of `output` to a model.

    The answer keeps the model's inputs and outputs and has one more input, `cotangent_name(output)`
    of the output's shape, and one more output per differentiated tensor, `gradient_name(tensor)` of
    that tensor's shape: gradient = ∂(Σ cotangent · output)/∂tensor. With a one-hot row for each
    example that is the gradient of each example's own class; rows never mix in a model that treats
    them apart. Batch and other lengths stay dynamic. The model given is not changed.

    A rule that compares (`tables.COMPARING`) adds an input `baseline_name(tensor)` of the tensor's
    shape for each, and an output `baseline_name(output)`; Σ gradient · (tensor − baseline) is then
    Σ cotangent · (output − its baseline), but for a gap where an index depends on the input.

    Args:
        model: Any ONNX model; older opsets are converted, function bodies are inlined.
        wrt: Float graph inputs, or inner tensors such as the output of an embedding's Gather.
        rule: A name in `tables.RULES`.
        output: A float tensor to differentiate, a graph output or an inner one such as the logits
            before a Softmax. Default: the model's only float output.

    Raises:
        InvalidArgument: an unknown tensor or rule, or one that is not of a float type.
        Unsupported: an operator on the way has no backward rule, or there is no way.
    """
    rules = table(rule)
    sources = [wrt] if isinstance(wrt, str) else list(wrt)
    graph = ForwardGraph(model)
    target = output if output is not None else _only_float_output(graph)
    for name, field in [*((s, "wrt") for s in sources), (target, "output")]:
        _require_float(graph, name, field)
    own = [cotangent_name(target), *map(gradient_name, sources)]
    if rule in COMPARING:
        own += map(baseline_name, graph.tensors())
    _require_free(graph, own)
    if rule in FOLDING:
        graph.fold()
    graph.flatten_small_planes()
    graph.gather_together()
    if target not in sources:
        graph.lower(sources, [target], rules)

    builder = Builder(graph.tensors() | {n.name for n in graph.model.graph.node})
    info = graph.info(target)
    cotangent = Value(builder, cotangent_name(target), info.type.tensor_type.elem_type)
    comparison = Comparison(graph, sources) if rule in COMPARING else None
    tape = Tape(graph, builder, rules, comparison)
    tape.backward({target: cotangent}, sources)

    for source in sources:
        gradient = tape.gradient(source)
        if gradient is None:
            raise Unsupported(f"no differentiable path leads from '{source}' to '{target}'")
        builder.publish(gradient, gradient_name(source))
    builder.prune(map(gradient_name, sources))
    if comparison is not None:
        _add_baseline(graph, builder, comparison, sources, target)
    return _assemble(graph, builder, sources, target)


def cotangent_name(output: str) -> str:
    """The graph input that weighs the elements of `output`."""
    return f"{output}.cotangent"


def gradient_name(tensor: str) -> str:
    """The graph output that holds the gradient by `tensor`."""
    return f"{tensor}.gradient"


def _assemble(
    graph: ForwardGraph,
    builder: Builder,
    sources: Sequence[str],
    target: str,
) -> onnx.ModelProto:
    model = graph.model
    model.graph.node.extend(builder.nodes)
    model.graph.initializer.extend(builder.initializers)
    model.graph.input.append(_renamed(graph.info(target), cotangent_name(target)))
    model.graph.output.extend(_renamed(graph.info(s), gradient_name(s)) for s in sources)
    del model.graph.value_info[:]  # inference names unknown lengths anew; ORT infers its own
    _drop_unread(model.graph)
    return model


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Forget the constants of nodes that were written in another way."""
    read = {name for node in graph.node for name in reads(node)}
    read.update(v.name for v in [*graph.input, *graph.output])
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]


def _add_baseline(
    graph: ForwardGraph,
    builder: Builder,
    comparison: Comparison,
    sources: Sequence[str],
    target: str,
) -> None:
    """The second pass before the backward nodes, with its inputs and its output."""
    model = graph.model.graph
    needed = {name for node in builder.nodes for name in reads(node)} | {baseline_name(target)}
    model.node.extend(comparison.nodes(needed))
    model.input.extend(_renamed(graph.info(s), baseline_name(s)) for s in sources)
    if target not in sources:
        model.output.append(_renamed(graph.info(target), baseline_name(target)))


def _renamed(info: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    copy.name = name
    return copy


def _only_float_output(graph: ForwardGraph) -> str:
    outputs = [name for name in graph.outputs if graph.is_float(name)]
    if len(outputs) != 1:
        raise InvalidArgument(
            f"name one output: the model has {len(outputs)} of a float type"
            f" ({', '.join(outputs) or 'none'})",
            "output",
        )
    return outputs[0]


def _require_float(graph: ForwardGraph, name: str, field: str) -> None:
    if name not in graph.tensors():
        known = ", ".join(graph.inputs if field == "wrt" else graph.outputs)
        raise InvalidArgument(f"the model has no tensor '{name}'; it has {known}", field)
    if not graph.is_float(name):
        raise InvalidArgument(
            f"'{name}' is not of a float type; name a float input, or an inner tensor such as the "
            "output of an embedding",
            field,
        )


def _require_free(graph: ForwardGraph, names: Sequence[str]) -> None:
    if taken := graph.tensors().intersection(names):
        raise InvalidArgument(
            f"the model already has tensors named {', '.join(sorted(taken))}; rename them", "model"
        )
