"""The attributions that look at a layer inside: from a query to the numbers that answer it."""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array, is_channels_last
from services.explanation.attributions.conductance import layer_conductance, neuron_conductance
from services.explanation.attributions.grad_cam import enlarged, grad_cam
from services.explanation.attributions.path import QUADRATURES, Quadrature
from services.explanation.explain import Explanation
from services.explanation.gradient_task import Task
from services.explanation.parameters import Parameter
from services.explanation.subject import Subject
from wintergarden.errors import InvalidArgument, Unsupported

STEPS = Parameter("steps", 64, 1, 4096, "points of the integral")
CELL = Parameter("unit", 0, 0, 2**53, "a cell of a recurrent layer, a feature map of a convolution")
UNIT = Parameter("unit", 0, 0, 2**53, "position of the neuron in its layer, flattened")


def by_activation(task: Task) -> Explanation:
    """What one unit says at each place of the input."""
    rows, unit = task.query.rows, int(task.numbers["unit"])
    name, units = task.subject.units(rows, task.query.layer)
    if unit >= units.shape[-1]:
        raise InvalidArgument(
            f"unit={unit}: layer '{name}' has {units.shape[-1]} units", "parameters.unit"
        )
    values = units[..., unit]  # [N, *places]
    channel = _channel(task.subject, rows, values)
    lengths = [size for axis, size in enumerate(rows.shape) if axis not in (0, channel)]
    if not lengths or values.ndim != 1 + len(lengths):
        raise Unsupported(
            f"layer '{name}' has {list(values.shape[1:])} places for an input "
            f"{list(rows.shape[1:])}; name a layer that has a place for each of the input's"
        )
    spread = enlarged(values, lengths)
    if channel is not None:
        spread = np.broadcast_to(np.expand_dims(spread, channel), rows.shape)
    return task.answer(spread, len(rows), background=f"unit {unit} of '{name}'")


def _channel(subject: Subject, rows: Array, values: Array) -> int | None:
    """The axis of the input that is no place: of tokens none is."""
    if subject.is_of_tokens:
        return None
    if rows.ndim == 3:  # a series [N, T, F] or [N, F, T]
        return 2 if values.shape[1:2] == rows.shape[1:2] else 1
    return rows.ndim - 1 if is_channels_last(rows.shape[1:]) else 1


def by_grad_cam(task: Task) -> Explanation:
    return task.answer(_cam(task), 2 * len(task.rows))


def by_guided_grad_cam(task: Task) -> Explanation:
    guided = task.gradient("guided")(task.rows, task.weights)
    return task.answer(task.per_token(guided, norm=True) * _cam(task), 4 * len(task.rows))


def by_layer_conductance(task: Task) -> Explanation:
    """In the shape of the layer."""
    background, description, _ = task.baselines()
    baseline = _one(background)
    steps = int(task.numbers["steps"])
    task.bound(len(task.rows) * steps)
    attributions = layer_conductance(
        lambda rows, weights: task.entry.layer(rows, weights, task.head, task.layer),
        task.rows,
        baseline,
        task.weights,
        steps,
    )
    start = task.entry.outputs(np.broadcast_to(baseline, task.rows.shape), task.head)
    return task.answer(
        attributions,
        2 * len(task.rows) * (steps + 1) + len(task.rows),
        base_values=np.take_along_axis(start, task.targets[:, None], 1)[:, 0].astype(np.float64),
        background=f"{description}; conductance of '{task.layer}'",
    )


def by_neuron_conductance(task: Task) -> Explanation:
    """Of one unit of the layer, in the shape of the input."""
    background, description, _ = task.baselines()
    steps, unit = int(task.numbers["steps"]), int(task.numbers["unit"])
    task.bound(2 * len(task.rows) * steps)
    activations, _ = task.entry.layer(task.rows, task.weights, task.head, task.layer)
    if unit >= activations[0].size:
        raise InvalidArgument(
            f"unit={unit}: layer '{task.layer}' has {activations[0].size} units", "parameters.unit"
        )
    attributions = neuron_conductance(
        lambda rows, weights: task.entry.layer(rows, weights, task.head, task.layer),
        lambda rows, weights: task.entry.behind(rows, weights, task.layer),
        task.rows,
        _one(background),
        task.weights,
        unit=unit,
        rule=Quadrature.of(QUADRATURES[int(task.numbers["quadrature"])], steps),
    )
    return task.answer(
        task.per_token(attributions),
        4 * len(task.rows) * steps + 2 * len(task.rows),
        background=f"{description}; unit {unit} of '{task.layer}'",
    )


def _one(background: Array) -> Array:
    """Conductance runs along one line: the mean of the background, [1, …]."""
    mean: Array = background.mean(axis=0, keepdims=True, dtype=np.float64)
    return mean.astype(background.dtype)


def _cam(task: Task) -> Array:
    """The map of a layer in the shape of the input: the same for all channels of an image."""
    activations, gradients = task.subject.layer(
        task.query.rows, task.weights, task.head, task.layer
    )
    rows = task.query.rows
    places = rows.ndim - (1 if task.embedding else 2)
    channel = rows.ndim - 1 if is_channels_last(rows.shape[1:]) else 1
    if places < 1 or activations.ndim != places + 2:
        wanted = "[N, C, T]" if task.embedding else "[N, C, …] with as many axes as the input"
        raise Unsupported(
            f"layer '{task.layer}' is {list(activations.shape)} for an input {list(rows.shape)}; "
            f"Grad-CAM needs channels and places: name a layer {wanted}"
        )
    maps = grad_cam(activations, gradients)
    if task.embedding:
        return enlarged(maps, rows.shape[1:])
    lengths = [length for axis, length in enumerate(rows.shape) if axis not in (0, channel)]
    spread = np.expand_dims(enlarged(maps, lengths), channel)
    return np.broadcast_to(spread, rows.shape).astype(np.float64)
