"""What may change about a model after it was published: how it is served, and its labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from wintergarden.errors import InvalidArgument, NotFound, TooLarge
from wintergarden.store.labels import LABELS, MAX_LABELS_BYTES, Labels, StaleRevision, parse_labels
from wintergarden.store.names import CONFIGURATION, is_file_name, validate_model_name
from wintergarden.store.objects import Objects

MAX_CONFIGURATION_BYTES = 2**20
_SHOWN = 20  # names listed in a message


class ModelSettings(ABC):
    """The part of a store that is not immutable."""

    _objects: Objects

    @abstractmethod
    def list_versions(self, model: str) -> list[int]:
        """Published versions of a model, ascending."""

    @abstractmethod
    def latest_version(self, model: str) -> int:
        """The highest published version; NotFound when there is none."""

    def read_configuration(self, model: str) -> bytes | None:
        """How the model is to be served, a `config.pbtxt` in Triton's words; None: by default."""
        return self._read_settings(model, CONFIGURATION, MAX_CONFIGURATION_BYTES)

    def write_configuration(self, model: str, content: bytes) -> None:
        """Replaces how the model is to be served; a reader finds the old or the new, whole.

        Raises:
            NotFound: no such model.
            TooLarge: it is longer than is allowed.
            FailedPrecondition: the storage is full.
        """
        self.latest_version(model)
        if len(content) > MAX_CONFIGURATION_BYTES:
            raise TooLarge(
                f"{CONFIGURATION} has {len(content)} bytes; at most {MAX_CONFIGURATION_BYTES} "
                "are allowed"
            )
        self._objects.put(f"models/{model}/{CONFIGURATION}", content)

    def read_file(self, model: str, name: str, limit: int) -> bytes:
        """A file beside the versions of a model, which its `config.pbtxt` refers to.

        Raises:
            NotFound: there is none.
            InvalidArgument: the name is not allowed.
            DataLoss: it is larger than `limit`.
        """
        validate_model_name(model)
        if not is_file_name(name):
            raise InvalidArgument(f"{name!r:.200} is no name for a file of model {model!r}")
        return self._objects.read(f"models/{model}/{name}", limit)

    def labels(self, model: str) -> Labels:
        """Labels and traffic split of a model; empty ones when nobody has set any.

        Raises:
            DataLoss: they cannot be read.
        """
        content = self._read_settings(model, LABELS, MAX_LABELS_BYTES)
        return Labels() if content is None else parse_labels(content, model)

    def set_labels(self, model: str, labels: Labels) -> Labels:
        """Replaces labels and traffic split, unless somebody else has since they were read.

        Args:
            model: whose they are.
            labels: with the revision that the caller has read.

        Returns:
            What is set now, with its new revision.

        Raises:
            NotFound: no such model, or a version that is not published.
            StaleRevision: there is another revision now.
            FailedPrecondition: the storage is full.
        """
        versions = self.list_versions(model)
        self.latest_version(model)
        named = {*labels.labels.values(), *((labels.shadow,) if labels.shadow else ())}
        missing = sorted(named.difference(versions))
        if missing:
            raise NotFound(f"model {model!r} has no version {missing[0]}; {there_are(versions)}")
        current = self._read_settings(model, LABELS, MAX_LABELS_BYTES)
        revision = 0 if current is None else parse_labels(current, model).revision
        new = labels.model_copy(update={"revision": labels.revision + 1})
        is_ours = revision == labels.revision and self._objects.swap(
            f"models/{model}/{LABELS}", current, new.to_json()
        )
        if not is_ours:
            raise StaleRevision(
                f"the labels of model {model!r} were changed by somebody else: they are no longer "
                f"at revision {labels.revision}; read them and try again"
            )
        return new

    def _read_settings(self, model: str, name: str, limit: int) -> bytes | None:
        try:
            return self._objects.read(f"models/{validate_model_name(model)}/{name}", limit)
        except NotFound:
            return None


def there_are(existing: Sequence[object]) -> str:
    """For a message."""
    shown = ", ".join(str(e) for e in existing[-_SHOWN:])
    more = f" and {len(existing) - _SHOWN} more" if len(existing) > _SHOWN else ""
    return f"there are {shown}{more}" if existing else "the store is empty"
