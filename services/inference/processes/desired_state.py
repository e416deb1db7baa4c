"""What clients have asked of the server since it started, for processes that start later.

Requests as they came, of each kind those that still matter: the last one about a model, the
regions that are registered, the settings that differ from those at the start.
"""

from __future__ import annotations

import threading
from typing import Any

from services.inference.protocol.metadata import SERVICE
from wintergarden.wire import open_inference_pb2 as pb

LOAD = f"/{SERVICE}/RepositoryModelLoad"
UNLOAD = f"/{SERVICE}/RepositoryModelUnload"
REGISTER = f"/{SERVICE}/SystemSharedMemoryRegister"
UNREGISTER = f"/{SERVICE}/SystemSharedMemoryUnregister"
TRACE = f"/{SERVICE}/TraceSetting"
LOG = f"/{SERVICE}/LogSettings"

MODEL_CHANGES = (LOAD, UNLOAD)
CHANGES = (*MODEL_CHANGES, REGISTER, UNREGISTER, TRACE, LOG)

Request = tuple[str, bytes]  # path and payload


class DesiredState:
    """Thread-safe; `revision` counts the changes."""

    def __init__(self) -> None:
        self.revision = 0
        self._requests: dict[tuple[str, str], Request] = {}  # in the order of their last change
        self._lock = threading.Lock()

    def record(self, path: str, payload: bytes) -> None:
        """A change that every process has made."""
        with self._lock:
            self._record(path, payload)
            self.revision += 1

    def requests(self) -> list[Request]:
        """What a process that starts now has to be asked, in order."""
        with self._lock:
            return list(self._requests.values())

    def loaded(self) -> set[str]:
        """Names of the models whose last request was to load them."""
        with self._lock:
            return {
                name
                for (kind, name), (path, _) in self._requests.items()
                if kind == "model" and path == LOAD
            }

    def undo(self, path: str, payload: bytes) -> Request | None:
        """What takes a change back that not every process could make; None: nothing does."""
        with self._lock:
            if path == LOAD:
                name = pb.RepositoryModelLoadRequest.FromString(payload).model_name
                return self._requests.get(("model", name), (UNLOAD, unload_request(name)))
            if path == REGISTER:
                name = pb.SystemSharedMemoryRegisterRequest.FromString(payload).name
                return UNREGISTER, _unregister(name)
            return None

    def _record(self, path: str, payload: bytes) -> None:
        match path:
            case _ if path == LOAD:
                load = pb.RepositoryModelLoadRequest.FromString(payload)
                self._put("model", load.model_name, path, payload)
            case _ if path == UNLOAD:
                unload = pb.RepositoryModelUnloadRequest.FromString(payload)
                # Kept: it may take away what every process loads at its start.
                self._put("model", unload.model_name, path, payload)
            case _ if path == REGISTER:
                register = pb.SystemSharedMemoryRegisterRequest.FromString(payload)
                self._put("region", register.name, path, payload)
            case _ if path == UNREGISTER:
                name = pb.SystemSharedMemoryUnregisterRequest.FromString(payload).name
                for key in list(self._requests):
                    if key[0] == "region" and name in ("", key[1]):
                        del self._requests[key]
            case _ if path == TRACE:
                trace = pb.TraceSettingRequest.FromString(payload)
                self._merge("trace", trace.model_name, path, trace)
            case _ if path == LOG:
                self._merge("log", "", path, pb.LogSettingsRequest.FromString(payload))

    def _put(self, kind: str, name: str, path: str, payload: bytes) -> None:
        self._requests.pop((kind, name), None)
        self._requests[kind, name] = (path, payload)

    def _merge(self, kind: str, name: str, path: str, change: Any) -> None:
        """Settings said before and not again still hold."""
        if not change.settings:
            return
        _, before = self._requests.get((kind, name), (path, b""))
        merged = type(change).FromString(before)
        for setting, value in change.settings.items():
            merged.settings[setting].CopyFrom(value)
        if kind == "trace":
            merged.model_name = name
        self._put(kind, name, path, merged.SerializeToString())


def unload_request(name: str) -> bytes:
    return bytes(pb.RepositoryModelUnloadRequest(model_name=name).SerializeToString())


def _unregister(name: str) -> bytes:
    return bytes(pb.SystemSharedMemoryUnregisterRequest(name=name).SerializeToString())
