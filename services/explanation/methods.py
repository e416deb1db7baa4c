"""The methods there are: what `ListMethods` tells and what runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.explanation.attack_methods import ATTACKS, AttackMethod
from services.explanation.attribution_methods import ATTRIBUTIONS, AttributionMethod
from services.explanation.method import Method
from wintergarden.errors import InvalidArgument

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
