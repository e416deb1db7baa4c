"""One version per publication, whoever publishes: what is intended is written before it is done.

A publisher may be superseded while it publishes: paused for longer than its licence lasts, it goes
on when another has begun to publish the same. So both name the publication, and the first to write
down what it is about to make visible has decided for both; the other one, or whoever comes later,
carries out what is written.
"""

from __future__ import annotations

import json

from wintergarden.errors import DataLoss, NotFound
from wintergarden.store.manifest import MAX_MANIFEST_BYTES, Manifest, parse
from wintergarden.store.names import (
    MANIFEST,
    MODEL,
    SIBLINGS,
    validate_model_name,
    version_key,
)
from wintergarden.store.objects import Objects

_FOLDER = "publications"


def intend(objects: Objects, publication: str, manifest: Manifest) -> Manifest:
    """Writes down what is about to be published; answers what is to be.

    That is another version where somebody was faster. The files are there by then.
    """
    key = _key(publication)
    if objects.create(key, manifest.to_json()):
        return manifest
    return _read(objects, key)


def carry_out(objects: Objects, manifest: Manifest) -> bool:
    """Makes a version visible whose files are written; whether it is that very version."""
    key, content = f"{version_key(manifest.model, manifest.version)}/{MANIFEST}", manifest.to_json()
    return objects.create(key, content) or objects.read(key, MAX_MANIFEST_BYTES) == content


def find(objects: Objects, publication: str) -> Manifest | None:
    """What was published under a name; carried out if it was only intended. None: nothing was.

    Neither is what was deleted since: it does not come back.
    """
    try:
        manifest = _read(objects, _key(publication))
    except NotFound:
        return None
    folder = version_key(manifest.model, manifest.version)
    if f"{folder}/{MODEL}" not in objects.keys(folder):
        return None
    return manifest if carry_out(objects, manifest) else None


def forget(objects: Objects, publication: str) -> None:
    """Only when nobody can publish under the name any more; siblings go with it."""
    for name in (publication, *(f"{publication}{suffix}" for suffix in SIBLINGS)):
        objects.delete(_key(name))


def _read(objects: Objects, key: str) -> Manifest:
    content = objects.read(key, MAX_MANIFEST_BYTES)
    try:
        told = json.loads(content)
        return parse(content, str(told["model"]), int(told["version"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataLoss(f"{key} is no intent to publish: {error}") from error


def _key(publication: str) -> str:
    return f"{_FOLDER}/{validate_model_name(publication)}.json"
