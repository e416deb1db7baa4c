"""Transfer learning: weights of another model under a new last layer, some of them frozen.

Yosinski, Clune, Bengio, Lipson, "How transferable are features in deep neural networks?", NIPS
2014. Gradual unfreezing and discriminative rates: Howard, Ruder 2018, arXiv:1801.06146, §3.2-3.3.

Knows no store and no files: it is given a state dict. Names are those of the network's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import SupervisedHyperparameters
from trainer.recipes.token_rows import by_token
from wintergarden.errors import InvalidArgument
from wintergarden.text import Vocabulary

ALL = "*"
_SHOWN = 5  # names of a long list
# Of batch normalisation, which state dicts of before torch 0.4.1 do not have.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Source:
    """Where weights come from.

    Attributes:
        name: for people, such as `lenet5-mnist-5k:3`.
        lineage: the same for good, for the manifest.
        weights: a state dict.
        vocabulary: of the texts that it read, where one knows it.
        target_vocabulary: of those that it wrote.
    """

    name: str
    lineage: str
    weights: Mapping[str, Tensor]
    vocabulary: Vocabulary | None = None
    target_vocabulary: Vocabulary | None = None

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Source:
        """What another rank's `state_dict` gave."""
        known = {
            name: fields and Vocabulary.from_fields(fields)
            for name, fields in state["vocabularies"].items()
        }
        return cls(state["name"], state["lineage"], state["weights"], **known)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for other ranks."""
        vocabularies = {
            "vocabulary": self.vocabulary and self.vocabulary.to_fields(),
            "target_vocabulary": self.target_vocabulary and self.target_vocabulary.to_fields(),
        }
        return {
            "name": self.name,
            "lineage": self.lineage,
            "weights": self.weights,
            "vocabularies": vocabularies,
        }


def is_below(name: str, prefixes: Iterable[str]) -> bool:
    """Whether a tensor or module of that name is one of these, or part of one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def head_of(network: nn.Module) -> tuple[str, ...]:
    """What depends on the classes: what the network says, else its last module with weights."""
    said = getattr(network, "head", None)
    if isinstance(said, tuple):
        return said
    return ([name for name, _ in network.named_parameters()][-1].rpartition(".")[0],)


def replaced(network: nn.Module, hyperparameters: SupervisedHyperparameters) -> tuple[str, ...]:
    """The beginnings of names of what is new in spite of a source."""
    return hyperparameters.replace or head_of(network)


@torch.no_grad()
def adopt(
    network: nn.Module,
    source: Source,
    hyperparameters: SupervisedHyperparameters,
    info: DatasetInfo,
) -> str:
    """Gives the network the weights of a source, but for what is replaced.

    Rows that stand for tokens go to where `info`, the new data set, has these tokens.

    Returns:
        What was done, for the log.

    Raises:
        InvalidArgument: the source is of another network; naming what differs.
    """
    new, own = replaced(network, hyperparameters), network.state_dict()
    given = _stripped(source.weights)
    wanted = {name for name in own if not is_below(name, new)}
    told = ""
    for name, tensor, rows in by_token(given, source, own, info):
        given[name] = tensor
        if name in wanted and rows < len(tensor):
            told += f"; of {name} {rows} of {len(tensor)} rows, by their tokens"
    missing = [n for n in own if n in wanted and n not in given and not n.endswith(_COUNTER)]
    unknown = [n for n in given if n not in own and not is_below(n, new)]
    misshapen = [
        f"{name} is {_shape(given[name])} and should be {_shape(own[name])}"
        for name in own
        if name in wanted and name in given and given[name].shape != own[name].shape
    ]
    problems = [
        f"{len(names)} {what}: {_some(names)}"
        for what, names in (
            ("missing", missing),
            ("of another shape", misshapen),
            ("unknown to it", unknown),
        )
        if names
    ]
    if problems:
        raise InvalidArgument(
            f"the weights of {source.name} are not of this network; of its {len(wanted)} tensors "
            f"(without {', '.join(new)}, which is new) are " + "; ".join(problems),
            field="hyperparameters.init_from",
        )
    for name in wanted & set(given):
        own[name].copy_(given[name])
    return f"{len(wanted)} tensors from {source.name}; new: {', '.join(new)}{told}"


def check_prefixes(network: nn.Module, hyperparameters: SupervisedHyperparameters) -> None:
    """Refuses names of parts that the network does not have.

    Raises:
        InvalidArgument: naming the parts there are.
    """
    names = list(network.state_dict())
    for field in ("replace", "freeze"):
        for prefix in getattr(hyperparameters, field):
            is_all = prefix == ALL and field == "freeze"
            if not is_all and not any(is_below(name, [prefix]) for name in names):
                there = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
                raise InvalidArgument(
                    f"hyperparameter {field!r}: the network has no {prefix!r}; it has "
                    f"{_some(there, 2 * _SHOWN)}",
                    field=f"hyperparameters.{field}",
                )
    if all(is_frozen(name, network, hyperparameters, 0) for name, _ in network.named_parameters()):
        raise InvalidArgument(
            "hyperparameter 'freeze': all of the network; something must be left to train",
            field="hyperparameters.freeze",
        )


def is_frozen(
    name: str, network: nn.Module, hyperparameters: SupervisedHyperparameters, epoch: int
) -> bool:
    """Whether a tensor of that name stays as it is in an epoch, counted from 0."""
    frozen = _frozen_prefixes(hyperparameters, epoch)
    if ALL in frozen:
        return not is_below(name, replaced(network, hyperparameters))
    return is_below(name, frozen)


def freeze(network: nn.Module, hyperparameters: SupervisedHyperparameters, epoch: int) -> None:
    """Sets the network to train, but for what is frozen in an epoch.

    Frozen parameters get no gradients, and frozen batch normalisation keeps its statistics.
    """
    network.train()
    if not hyperparameters.freeze:
        return
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not is_frozen(name, network, hyperparameters, epoch))
    for name, module in network.named_modules():
        if name and module.state_dict() and is_frozen(name, network, hyperparameters, epoch):
            module.eval()


def rate_scales(network: nn.Module, decay: float) -> dict[str, float]:
    """By parameter, what its learning rate is of the last layer's.

    A layer is a module with a weight matrix or kernel; biases and scales go with the one before.
    """
    depth, depths = -1, {}
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            depth += 1
        depths[name] = max(depth, 0)
    return {name: decay ** (max(depth, 0) - of) for name, of in depths.items()}


def _frozen_prefixes(hyperparameters: SupervisedHyperparameters, epoch: int) -> Sequence[str]:
    every, frozen = hyperparameters.unfreeze_epochs, hyperparameters.freeze
    return frozen[: max(0, len(frozen) - epoch // every)] if every else frozen


def _stripped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what DataParallel and our own served modules put before each name."""
    for prefix in ("network.", "module."):
        inner = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        if inner:
            return inner
    return dict(weights)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _some(names: Sequence[str], count: int = _SHOWN) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
