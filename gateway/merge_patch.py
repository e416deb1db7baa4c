"""JSON Merge Patch (RFC 7396)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wintergarden.errors import InvalidArgument


def merge_patch(document: Mapping[str, Any], patch: str) -> dict[str, Any]:
    """A JSON object with changes: members are merged by name, and null removes one.

    Args:
        document: a JSON object.
        patch: a JSON object; empty text changes nothing.

    Raises:
        InvalidArgument: the patch is no JSON object.
    """
    try:
        changes = json.loads(patch or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"changes are not JSON: {error}", field="changes_json") from error
    if not isinstance(changes, dict):
        raise InvalidArgument(
            f"changes must be a JSON object, got {type(changes).__name__}", field="changes_json"
        )
    merged: dict[str, Any] = _merge(document, changes)
    return merged


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged
