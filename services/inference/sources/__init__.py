"""Where published model versions come from: a model store of ours, or a Triton repository."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import structlog

from services.inference.sources.source import Source
from services.inference.sources.store import StoreSource
from services.inference.sources.triton import TritonSource, is_triton_repository
from wintergarden.errors import InvalidArgument
from wintergarden.store import open_store

_log = structlog.get_logger(__name__)

Kind = Literal["auto", "store", "triton"]


def open_source(uri: str, kind: Kind = "auto") -> Source:
    """Opens what lies at a URI.

    Args:
        uri: of a model store, or a directory that is a Triton model repository.
        kind: which of them; `auto` recognises it by its layout and says so in the log.

    Raises:
        InvalidArgument: no such kind of store.
    """
    root = _directory(uri)
    if kind == "triton" and root is None:
        raise InvalidArgument(
            f"{uri!r}: a Triton model repository must be a directory; allowed are /path and "
            "file:///path",
            field="store_uri",
        )
    is_triton = kind == "triton" or (
        kind == "auto" and root is not None and is_triton_repository(root)
    )
    source: Source
    source = TritonSource(root) if is_triton and root is not None else StoreSource(open_store(uri))
    _log.info("serving from", kind=source.kind, uri=source.uri)
    return source


def _directory(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost") or not parts.path:
        return None
    return Path(unquote(parts.path) if parts.scheme else uri).expanduser()


__all__ = ["Kind", "Source", "open_source"]
