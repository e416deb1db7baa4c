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


def decide(objects: Objects, publication: str, manifest: Manifest) -> Manifest:
    """Writes down what is about to be published; answers what is to be.

    That is another version where somebody was faster, and it is visible by then. An intent whose
    files were deleted since counts no more, and this one takes its place.

    Raises:
        StorageFull: this manifest was not written down. After any other error it may have been.
    """
    key = _key(publication)
    while not objects.create(key, manifest.to_json()):
        written = objects.read(key, MAX_MANIFEST_BYTES)
        intended = _parse(written, key)
        if intended == manifest or carry_out(objects, intended):
            return intended
        if objects.swap(key, written, manifest.to_json()):
            break
    return manifest


def carry_out(objects: Objects, manifest: Manifest) -> bool:
    """Makes a version visible whose files are written; whether it is that very version.

    It is not where its files were deleted, be it meanwhile.
    """
    key, content = f"{version_key(manifest.model, manifest.version)}/{MANIFEST}", manifest.to_json()
    if not _has_model(objects, manifest):
        return False
    try:
        is_it = objects.create(key, content) or objects.read(key, MAX_MANIFEST_BYTES) == content
    except NotFound:  # deleted between the two
        return False
    if is_it and not _has_model(objects, manifest):
        # Who deletes takes the manifest away after the files too, so one of us comes last.
        objects.delete(key)
        return False
    return is_it


def find(objects: Objects, publication: str) -> Manifest | None:
    """What was published under a name; carried out if it was only intended. None: nothing was.

    Neither is what was deleted since: it does not come back.
    """
    key = _key(publication)
    try:
        manifest = _parse(objects.read(key, MAX_MANIFEST_BYTES), key)
    except NotFound:
        return None
    return manifest if carry_out(objects, manifest) else None


def forget(objects: Objects, publication: str) -> None:
    """Only when nobody can publish under the name any more; siblings go with it."""
    for name in (publication, *(f"{publication}{suffix}" for suffix in SIBLINGS)):
        objects.delete(_key(name))


def _has_model(objects: Objects, manifest: Manifest) -> bool:
    folder = version_key(manifest.model, manifest.version)
    return f"{folder}/{MODEL}" in objects.keys(folder)


def _parse(content: bytes, key: str) -> Manifest:
    try:
        told = json.loads(content)
        return parse(content, str(told["model"]), int(told["version"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataLoss(f"{key} is no intent to publish: {error}") from error


def _key(publication: str) -> str:
    return f"{_FOLDER}/{validate_model_name(publication)}.json"
