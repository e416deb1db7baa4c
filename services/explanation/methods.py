"""The methods there are: what `ListMethods` tells and what runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.explanation.attack_methods import ATTACKS, AttackMethod
from services.explanation.explain import Attribution, by_kernel_shap, by_saliency
from services.explanation.method import Method
from wintergarden.errors import InvalidArgument


@dataclass(frozen=True)
class AttributionMethod(Method):
    run: Attribution = field(kw_only=True)


ATTRIBUTIONS = (
    AttributionMethod(
        name="kernel_shap",
        kind="attribution",
        needs_gradient=False,
        summary="Shapley values by weighted regression over coalitions, with standard errors; "
        "exact for up to 12 players",
        source="Lundberg, Lee, A Unified Approach to Interpreting Model Predictions, 2017, "
        "arXiv:1705.07874",
        run=by_kernel_shap,
    ),
    AttributionMethod(
        name="saliency",
        kind="attribution",
        needs_gradient=True,
        summary="The gradient of the explained output by every input element, signed",
        source="Simonyan, Vedaldi, Zisserman, Deep Inside Convolutional Networks, 2013, "
        "arXiv:1312.6034",
        run=by_saliency,
    ),
)

METHODS: tuple[Method, ...] = (*ATTRIBUTIONS, *ATTACKS)


def attribution(name: str) -> AttributionMethod:
    """The attribution method of a name.

    Raises:
        InvalidArgument: naming those there are.
    """
    found: AttributionMethod = _find(name, ATTRIBUTIONS)
    return found


def attack_method(name: str) -> AttackMethod:
    """The attack of a name; as `attribution`."""
    found: AttackMethod = _find(name, ATTACKS)
    return found


def _find(name: str, methods: Sequence[Method]) -> Any:
    for method in methods:
        if method.name == name:
            return method
    known = ", ".join(method.name for method in methods)
    others = [method for method in METHODS if method.name == name]
    hint = f"'{name}' is an {others[0].kind}; " if others else f"no method '{name}'; "
    raise InvalidArgument(f"{hint}{methods[0].kind}s are {known}", "method")
