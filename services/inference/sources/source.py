"""Where published model versions come from, as those who load them see it.

Knows no ONNX Runtime and no repository: a source says what there is and hands out its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from wintergarden.store import Manifest
from wintergarden.store.labels import Labels
from wintergarden.store.published import Published
from wintergarden.wire.model_config_pb2 import ModelConfig


class VersionFiles(Protocol):
    """The files of one version, confined to its model's folder, and verified where they can be."""

    @property
    def manifest(self) -> Manifest | None:
        """What the version says about itself; None outside a model store."""

    def model(self, file_name: str) -> bytes | Path:
        """The graph: its bytes, or where it lies, with its external data beside it.

        Raises:
            NotFound: the version has no such file.
            DataLoss: the file is not what the manifest says.
            InvalidArgument: the name leads out of the version's folder.
        """

    def close(self) -> None:
        """Keep nothing open; a session has read its file by now."""

    def golden(self) -> bytes | None:
        """Recorded inputs and outputs, to be replayed before the version is served."""

    def read(self, path: str) -> bytes:
        """A file of the model's folder: class labels, initial states, warm-up samples.

        Raises:
            NotFound: the model has no such file.
            TooLarge: it is longer than is allowed.
            InvalidArgument: the path leads out of the model's folder.
        """


class Source(Protocol):
    """Published versions of models; any thread may ask."""

    @property
    def uri(self) -> str:
        """For messages."""

    @property
    def kind(self) -> str:
        """What sort of repository it is, for messages."""

    @property
    def default_versions(self) -> int | None:
        """How many of the latest versions are served where no policy says so; None: a setting."""

    def look(self) -> Mapping[str, Published]:
        """Everything there is now, by model; cheap enough to be called every second."""

    def configuration(self, name: str) -> ModelConfig:
        """What `config.pbtxt` says, or an empty message.

        Raises:
            InvalidArgument: it cannot be read.
        """

    def labels(self, name: str) -> Labels:
        """Labels and traffic split; empty where there are none.

        Raises:
            DataLoss: they cannot be read.
        """

    def files(self, name: str, version: int) -> VersionFiles:
        """The files of a version.

        Raises:
            NotFound: the version has gone.
            DataLoss: its manifest cannot be read.
        """
