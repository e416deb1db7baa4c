"""The model store over any storage: who may take which number, and what exists."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from wintergarden.errors import DataLoss, FailedPrecondition, NotFound, Unsupported
from wintergarden.store import publication as publications
from wintergarden.store.artefact import Artefact
from wintergarden.store.cache import Cache
from wintergarden.store.draft import Draft
from wintergarden.store.labels import LABELS
from wintergarden.store.manifest import MAX_MANIFEST_BYTES, Manifest, parse
from wintergarden.store.model_settings import ModelSettings, there_are
from wintergarden.store.names import (
    CLAIM,
    CONFIGURATION,
    MANIFEST,
    MODEL,
    SIBLINGS,
    parse_version,
    validate_model_name,
    version_key,
)
from wintergarden.store.objects import Objects
from wintergarden.store.published import Published
from wintergarden.store.storage import open_storage


def open_store(uri: str, cache: Path | None = None) -> ModelStore:
    """Opens a model store; nothing is read or written yet.

    Args:
        uri: see `open_storage`.
        cache: for files of stores that are no directory; None is `~/.cache/wintergarden`.

    Raises:
        InvalidArgument: no such kind of store.
    """
    kept = Cache(cache or Path("~/.cache/wintergarden").expanduser())
    return ModelStore(open_storage(uri), kept)


class ModelStore(ModelSettings):
    """Published versions are immutable and numbered from 1; a number is never used twice."""

    def __init__(self, objects: Objects, cache: Cache) -> None:
        self._objects = objects
        self._cache = cache
        self._is_conditional = False

    @property
    def uri(self) -> str:
        return self._objects.uri

    def list_models(self) -> list[str]:
        """Models that have a published version, in alphabetical order."""
        return sorted(self.published())

    def list_versions(self, model: str) -> list[int]:
        """Published versions of a model, ascending; [] when there is no such model."""
        validate_model_name(model)
        return self.published().get(model, [])

    def latest_version(self, model: str) -> int:
        """The highest published version.

        Raises:
            NotFound: naming the models there are.
        """
        versions = self.list_versions(model)
        if not versions:
            raise NotFound(f"no model {model!r}; {there_are(self.list_models())}")
        return versions[-1]

    def read_manifest(self, model: str, version: int) -> Manifest:
        """The manifest of a published version.

        Raises:
            NotFound: naming what there is.
            DataLoss: the manifest cannot be read.
        """
        key = f"{version_key(model, version)}/{MANIFEST}"
        try:
            content = self._objects.read(key, MAX_MANIFEST_BYTES)
        except NotFound as error:
            versions = self.list_versions(model)
            if not versions:
                raise NotFound(f"no model {model!r}; {there_are(self.list_models())}") from error
            raise NotFound(
                f"model {model!r} has no version {version}; {there_are(versions)}"
            ) from error
        return parse(content, model, version)

    def fetch(self, model: str, version: int) -> Artefact:
        """The version with its files; each is verified when it is asked for.

        Raises:
            NotFound: naming what there is.
            DataLoss: the manifest cannot be read.
        """
        return Artefact(self._objects, self.read_manifest(model, version), self._cache)

    def publish(self, model: str) -> Draft:
        """Claims the next number of a model; use the draft in a `with` statement.

        Raises:
            FailedPrecondition: the storage is full, or has no conditional writes.
        """
        validate_model_name(model)
        claim = json.dumps(
            {
                "claimed_at": datetime.now(UTC).isoformat(),
                "host": socket.gethostname(),
                "pid": os.getpid(),
            }
        ).encode()
        # Deleted and abandoned versions keep their folders, so that their numbers stay taken.
        taken = (parse_version(name) for name in self._objects.folders(f"models/{model}"))
        version = max((v for v in taken if v is not None), default=0) + 1
        while not self._objects.create(f"{version_key(model, version)}/{CLAIM}", claim):
            version += 1
        self._check_conditional(f"{version_key(model, version)}/{CLAIM}", claim)
        return Draft(self._objects, model, version)

    def find_publication(self, publication: str) -> Manifest | None:
        """What was committed under this name, by whomever; None: nothing, or it was deleted.

        What somebody intended and did not live to do is done by asking.

        Raises:
            DataLoss: it cannot be read.
        """
        return publications.find(self._objects, publication)

    def forget_publication(self, publication: str) -> None:
        """When nobody can commit under this name any more."""
        publications.forget(self._objects, publication)

    def delete(self, model: str, version: int | None = None) -> list[int]:
        """Deletes a version, or all of a model, and their siblings; returns what was deleted.

        The manifest goes first, so that no reader finds half a version. Only the claim stays.
        Siblings are other graphs of the same networks: the versions of `NAME.forced` and
        `NAME.step` that the same jobs published.

        Raises:
            NotFound: naming what there is.
            FailedPrecondition: the version has a label.
        """
        published = self.published()
        there = published.get(validate_model_name(model), [])
        versions = [version] if version is not None else there
        if not versions or version not in (None, *there):
            what = f"model {model!r} has no version {version}" if there else f"no model {model!r}"
            raise NotFound(f"{what}; {there_are(there or sorted(published))}")
        siblings = self._siblings(model, versions, published)
        if version is None:
            self._objects.delete(f"models/{model}/{LABELS}")
        else:
            self._check_unlabelled(model, version)
        for sibling, number in siblings:
            self._check_unlabelled(sibling, number)
        # Siblings first: a deletion that ends halfway can be done again.
        for name, number in [*siblings, *((model, number) for number in versions)]:
            folder = version_key(name, number)
            self._objects.delete(f"{folder}/{MANIFEST}")
            for key in self._objects.keys(folder):
                if key != f"{folder}/{CLAIM}":
                    self._objects.delete(key)
            # Again: who carries out a publication may have taken it for one that is to be done.
            self._objects.delete(f"{folder}/{MANIFEST}")
        return versions

    def _siblings(
        self, model: str, versions: Sequence[int], published: Mapping[str, Sequence[int]]
    ) -> list[tuple[str, int]]:
        """Names and numbers of what the jobs that published these versions published beside."""
        names = [name for suffix in SIBLINGS if (name := f"{model}{suffix}") in published]
        jobs = {self._job(model, version) for version in versions} - {None} if names else ()
        return [
            (name, number)
            for name in names
            for number in published[name]
            if self._job(name, number) in jobs
        ]

    def _job(self, model: str, version: int) -> str | None:
        try:
            return self.read_manifest(model, version).lineage.job_id
        except (DataLoss, NotFound, Unsupported):  # then it is nobody's sibling
            return None

    def _check_unlabelled(self, model: str, version: int) -> None:
        if names := self.labels(model).names_of(version):
            raise FailedPrecondition(
                f"model {model!r} version {version} is called {', '.join(names)}; give the label "
                "to another version, or clear it, before the version is deleted"
            )

    def look(self) -> dict[str, Published]:
        """Every model with a published version, in one look at the storage; for polling."""
        found = self._objects.find(MANIFEST, CONFIGURATION, LABELS)
        versions: dict[str, dict[int, str]] = {}
        for key, tag in found.items():
            _, model, *rest = key.split("/")
            version = parse_version(rest[0]) if len(rest) == 2 else None
            if version is not None:
                versions.setdefault(model, {})[version] = tag
        return {
            model: Published(
                dict(sorted(tags.items())),
                configuration=found.get(f"models/{model}/{CONFIGURATION}", ""),
                labels=found.get(f"models/{model}/{LABELS}", ""),
            )
            for model, tags in versions.items()
        }

    def fingerprint(self) -> str:
        """Changes when a published version appears, goes or is tampered with; for polling."""
        found = self._objects.find(MANIFEST)
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    def import_onnx(
        self,
        model: str,
        onnx_bytes: bytes,
        class_labels: Sequence[str] = (),
        value_range: tuple[float, float] | None = None,
    ) -> Manifest:
        """Publishes an ONNX file from elsewhere, without golden outputs: unverified.

        Args:
            model: its name here.
            onnx_bytes: the file; read in a process of its own, for it may be hostile.
            class_labels: in the order of the last axis of the output.
            value_range: of the values of its floating-point inputs.

        Raises:
            InvalidArgument: no valid model, or larger than is allowed.
            Unsupported: it needs operators or inputs that we do not serve.
        """
        from wintergarden.store.foreign import describe

        validate_model_name(model)
        fields = describe(onnx_bytes, tuple(class_labels), value_range)
        with self.publish(model) as draft:
            draft.write(MODEL, onnx_bytes)
            return draft.commit(fields)

    def published(self) -> dict[str, list[int]]:
        """The published versions of every model, ascending, in one look at the storage."""
        published: dict[str, list[int]] = {}
        for key in self._objects.find(MANIFEST):
            _, model, folder, _ = key.split("/")
            version = parse_version(folder)
            if version is not None:
                published.setdefault(model, []).append(version)
        return {model: sorted(versions) for model, versions in published.items()}

    def _check_conditional(self, key: str, content: bytes) -> None:
        """Refuses a storage that lets a second writer create the same object."""
        if not self._is_conditional and self._objects.create(key, content):
            raise FailedPrecondition(
                f"{self.uri} does not honour conditional writes (If-None-Match), so two writers "
                "could publish one version; use a storage that does"
            )
        self._is_conditional = True
