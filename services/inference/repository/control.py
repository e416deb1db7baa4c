"""How models come to be loaded and unloaded; Triton's model control modes share this seam."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from services.inference.repository.repository import Model
from services.inference.sources.source import VersionFiles
from wintergarden.wire.model_config_pb2 import ModelConfig

# Makes a version ready to serve: name, version, its files, how it is to be served.
Load = Callable[[str, int, VersionFiles, ModelConfig], Model]

NO_FILES: Mapping[str, bytes] = MappingProxyType({})


class ModelControl(Protocol):
    """Whoever decides which models are loaded; called from any thread."""

    def start(self) -> None:
        """Load what is wanted from the start, off the caller's thread."""

    def stop(self) -> None:
        """Decide nothing more. A load that is under way is abandoned with the process."""

    def load(
        self, name: str, config: str | None = None, files: Mapping[str, bytes] = NO_FILES
    ) -> None:
        """Load a model, or load it anew; returns when it is served.

        Args:
            name: of the model.
            config: a ModelConfig in JSON that takes the place of its `config.pbtxt`.
            files: content by `<version>/<path>`; where given, the model consists of these alone.
                A leading `file:`, as on the wire, is allowed.

        Raises:
            FailedPrecondition: models are not loaded by request here.
            NotFound: no such model.
            InvalidArgument: the configuration or a file is not valid; what was served still is.
            Unsupported: it asks for what is not served here.
            DataLoss: a file is not what its manifest says.
        """

    def unload(self, name: str, *, unload_dependents: bool = False) -> None:
        """Serve a model no more; returns when what was under way has its answers.

        Args:
            name: of the model.
            unload_dependents: also the models that an ensemble is composed of.

        Raises:
            FailedPrecondition: models are not unloaded by request here.
            NotFound: no such model is loaded.
        """
