"""What is told of every method, whatever it does."""

from __future__ import annotations

from dataclasses import dataclass

from services.explanation.parameters import Parameter


@dataclass(frozen=True)
class Method:
    """What a method is called, what it needs, what it can be tuned by, where it is described."""

    name: str
    kind: str
    needs_gradient: bool
    summary: str
    source: str
    parameters: tuple[Parameter, ...] = ()
