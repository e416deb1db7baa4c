"""Wintergarden: grow neural networks, put them on show, look through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from wintergarden.client import AsyncClient, Client, connect, connect_async

__all__ = ["AsyncClient", "Client", "__version__", "connect", "connect_async"]


def __getattr__(name: str) -> Any:
    # Lazily, so that a service which needs no client does not pay for one.
    if name in __all__:
        from wintergarden import client

        return getattr(client, name)
    raise AttributeError(f"module 'wintergarden' has no attribute {name!r}")
