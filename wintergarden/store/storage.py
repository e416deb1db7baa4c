"""Which storage an address names: what lies in it, models or other things, is not known here."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from wintergarden.errors import InvalidArgument
from wintergarden.store.directory import Directory
from wintergarden.store.objects import Objects


def open_storage(uri: str) -> Objects:
    """Opens a storage; nothing is read or written yet.

    Args:
        uri: `/path`, `file:///path` or `s3://bucket/prefix`. S3 takes endpoint, region and keys
            from the environment: AWS_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID, …

    Raises:
        InvalidArgument: no such kind of storage.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file") and parts.netloc in ("", "localhost") and parts.path:
        path = unquote(parts.path) if parts.scheme else uri
        return Directory(Path(path).expanduser())
    if parts.scheme == "s3" and parts.netloc:
        from wintergarden.store.bucket import Bucket

        return Bucket(uri)
    raise InvalidArgument(
        f"store {uri!r} is not supported; allowed are /path, file:///path and s3://bucket/prefix",
        field="store_uri",
    )
