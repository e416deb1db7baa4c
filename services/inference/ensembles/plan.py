"""The dataflow of an ensemble, as `ensemble_scheduling` of its configuration draws it.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/ensemble_models.md

`EnsemblePlan.of` needs the configuration alone; `check` holds it to the models it is composed
of. Knows no requests. `max_inflight_requests` needs no heed: it bounds what a decoupled step sends
ahead of the next one, and here a step is asked once and answers once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from services.inference.configuration.tensors import datatype_of
from services.inference.shapes import may_agree
from services.inference.signature import Signature
from wintergarden.errors import InvalidArgument, Unsupported, WintergardenError
from wintergarden.runtime import TensorSpec
from wintergarden.wire import model_config_pb2 as pb


def dependencies(config: pb.ModelConfig) -> list[tuple[str, str]]:
    """The models that an ensemble is composed of: name, and version or "" for the latest."""
    return [(s.model_name, _version(s.model_version)) for s in config.ensemble_scheduling.step]


@dataclass(frozen=True)
class Step:
    """One request to one of the composing models.

    Attributes:
        model: its name.
        version: as requests write it; "" is the latest.
        inputs: position of a tensor of the ensemble by name of an input of the model.
        outputs: position of a tensor of the ensemble by name of an output of the model.
    """

    model: str
    version: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True)
class EnsemblePlan:
    """Steps and the tensors that connect them; every tensor has one producer, and nothing waits
    for itself.

    Attributes:
        model: name of the ensemble.
        steps: in an order in which they could run one after the other.
        tensors: the ensemble's names for them; its inputs come first, in their order.
        inputs: what the ensemble takes, with the batch dimension where it has one.
        outputs: what it gives, likewise.
        max_waiting: requests of one sequence that may wait for their turn.
        answered: for each output, the position of its tensor.
        consumers: for each tensor, the positions of the steps that need it.
        missing: for each step, how many different tensors it needs.
    """

    model: str
    steps: tuple[Step, ...]
    tensors: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    answered: tuple[int, ...]
    consumers: tuple[tuple[int, ...], ...]
    missing: tuple[int, ...]
    max_waiting: int = 1024

    @classmethod
    def of(cls, config: pb.ModelConfig) -> Self:
        """Reads the configuration of an ensemble.

        Raises:
            InvalidArgument: a tensor has no producer or several, steps wait for each other, or
                an output is an input that may be left out.
            Unsupported: a step names a namespace.
        """
        where = f"ensemble {config.name!r}"
        inputs = [_spec(t, config) for t in config.input]
        outputs = [_spec(t, config) for t in config.output]
        if not config.ensemble_scheduling.step:
            raise InvalidArgument(f"{where}: ensemble_scheduling has no step; at least 1 is needed")
        producers: dict[str, str] = {spec.name: "an input of the ensemble" for spec in inputs}
        for step in config.ensemble_scheduling.step:
            _check_step(step, where)
            for tensor in step.output_map.values():
                if tensor in producers:
                    raise InvalidArgument(
                        f"{where}: tensor {tensor!r} is an output of the step {step.model_name!r} "
                        f"and of {producers[tensor]}; each tensor has one producer"
                    )
                producers[tensor] = f"the step {step.model_name!r}"
        needs = [
            (tensor, f"the step {step.model_name!r}")
            for step in config.ensemble_scheduling.step
            for tensor in step.input_map.values()
        ] + [(spec.name, "the outputs of the ensemble") for spec in outputs]
        for tensor, consumer in needs:
            if tensor not in producers:
                raise InvalidArgument(
                    f"{where}: tensor {tensor!r} is needed by {consumer}, and nothing produces it; "
                    f"there are {', '.join(map(repr, producers))}"
                )
        optional = {spec.name for spec in inputs if spec.is_optional}
        for spec in outputs:
            if spec.name in optional:
                raise InvalidArgument(
                    f"{where}: output {spec.name!r} is an optional input too, and there is nothing "
                    "to answer where that is left out; make it required, or give one another name"
                )
        position = {tensor: i for i, tensor in enumerate(producers)}
        steps = [
            Step(
                step.model_name,
                _version(step.model_version),
                {name: position[tensor] for name, tensor in step.input_map.items()},
                {name: position[tensor] for name, tensor in step.output_map.items()},
            )
            for step in _sorted(config.ensemble_scheduling.step, {s.name for s in inputs}, where)
        ]
        needed = [frozenset(step.inputs.values()) for step in steps]
        return cls(
            model=config.name,
            steps=tuple(steps),
            tensors=tuple(producers),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            answered=tuple(position[spec.name] for spec in outputs),
            consumers=tuple(
                tuple(k for k, tensors in enumerate(needed) if i in tensors)
                for i in range(len(producers))
            ),
            missing=tuple(map(len, needed)),
        )

    def check(self, signature_of: Callable[[str, str], Signature]) -> None:
        """Hold the plan to the models it is composed of.

        Args:
            signature_of: by name and version; raises when the model is not served.

        Raises:
            InvalidArgument: a tensor's name, datatype or shape does not fit a model.
            WintergardenError: a model is not served; which one is said.
        """
        known: dict[int, tuple[TensorSpec, str]] = {
            i: (spec, f"input {spec.name!r} of the ensemble") for i, spec in enumerate(self.inputs)
        }
        for step in self.steps:
            try:
                signature = signature_of(step.model, step.version)
            except WintergardenError as error:
                raise named(error, self.model, step.model) from error
            where = f"ensemble {self.model!r}, step {step.model!r}"
            for name, i in step.inputs.items():
                spec = _find(signature.inputs, name, "input", where)
                given, source = known[i]
                self._agree(given, source, spec, f"input {name!r} of {step.model!r}")
            left_out = [
                repr(s.name)
                for s in signature.inputs
                if s.name not in step.inputs and not s.is_optional
            ]
            if left_out:
                raise InvalidArgument(
                    f"{where}: input_map leaves out {', '.join(left_out)}, which the model needs"
                )
            for name, i in step.outputs.items():
                spec = _find(signature.outputs, name, "output", where)
                known[i] = spec, f"output {name!r} of {step.model!r}"
        for spec, i in zip(self.outputs, self.answered, strict=True):
            given, source = known[i]
            self._agree(given, source, spec, f"output {spec.name!r} of the ensemble")

    def _agree(self, given: TensorSpec, source: str, taken: TensorSpec, target: str) -> None:
        if given.datatype != taken.datatype or not may_agree(given.shape, taken.shape):
            raise InvalidArgument(
                f"ensemble {self.model!r}: {source} is {given.datatype} {list(given.shape)} and "
                f"does not fit {target}, which is {taken.datatype} {list(taken.shape)}"
            )


def named(error: Exception, ensemble: str, model: str) -> Exception:
    """The same kind of error, which says where it happened."""
    if not isinstance(error, WintergardenError):
        return error
    told = copy.copy(error)
    told.message = f"in ensemble {ensemble!r}, step {model!r}: {error.message}"
    told.args = (told.message,)
    if isinstance(told, InvalidArgument):
        told.field = ""  # it is a field of the step's request, not of the caller's
    return told


def _check_step(step: pb.ModelEnsembling.Step, where: str) -> None:
    if not step.model_name:
        raise InvalidArgument(f"{where}: a step without model_name")
    if step.model_namespace:
        raise Unsupported(
            f"{where}: step {step.model_name!r}: model_namespace {step.model_namespace!r}: there "
            "is one repository, without a name; leave it out"
        )
    for field in ("input_map", "output_map"):
        if not getattr(step, field):
            raise InvalidArgument(f"{where}: step {step.model_name!r}: {field} is empty")


def _sorted(
    steps: Sequence[pb.ModelEnsembling.Step], available: set[str], where: str
) -> list[pb.ModelEnsembling.Step]:
    """The steps, each after those it needs."""
    waiting, ordered = list(steps), []
    available = set(available)
    while waiting:
        ready = [s for s in waiting if available.issuperset(s.input_map.values())]
        if not ready:
            names = ", ".join(repr(s.model_name) for s in waiting)
            raise InvalidArgument(f"{where}: the steps {names} wait for each other's outputs")
        for step in ready:
            available.update(step.output_map.values())
        ordered += ready
        waiting = [s for s in waiting if not any(s is r for r in ready)]
    return ordered


def _find(specs: Sequence[TensorSpec], name: str, kind: str, where: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    names = ", ".join(repr(spec.name) for spec in specs)
    raise InvalidArgument(f"{where}: the model has no {kind} {name!r}; its {kind}s are {names}")


def _spec(tensor: pb.ModelInput | pb.ModelOutput, config: pb.ModelConfig) -> TensorSpec:
    batch = (-1,) if config.max_batch_size > 0 else ()
    is_optional = isinstance(tensor, pb.ModelInput) and tensor.optional
    shape = (*batch, *tensor.dims)
    return TensorSpec(tensor.name, datatype_of(tensor.data_type), shape, is_optional)


def _version(version: int) -> str:
    return str(version) if version > 0 else ""
