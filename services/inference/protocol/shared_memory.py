"""System shared memory: tensors that a client on the same machine leaves beside the message.

Whoever registers a region can change and truncate it at any moment. A mapping would hand that
power on: a truncated region kills the process that touches it (SIGBUS), and an index that changes
after it was checked reads beyond a table. So nothing is mapped: a tensor is read and written by
one system call, which is one copy, the only one on its way. Knows no message of the protocol.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wintergarden.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    Overloaded,
    TooLarge,
    Unsupported,
)

_FOLDER = Path("/dev/shm")  # where Linux keeps what `shm_open` opens
_MAX_KEY = 255
_MAX_LISTED = 20

OFF = (
    "system shared memory is off; a server that is started with --system-shared-memory offers "
    "it, to clients on the same machine"
)
CUDA = "CUDA shared memory needs a server whose sessions run on a GPU of this machine"


@dataclass(frozen=True)
class Region:
    """A registered part of a shared memory object; usable for as long as anybody holds it."""

    name: str
    key: str
    offset: int
    byte_size: int
    _file: _File

    def read(self, offset: int, byte_size: int) -> bytes:
        """Bytes of the region, as they are now.

        Raises:
            InvalidArgument: the object has become shorter than it was when it was registered.
            Overloaded: there is not memory enough.
        """
        try:
            content = os.pread(self._file.descriptor, byte_size, self.offset + offset)
        except MemoryError as error:
            raise Overloaded(f"not enough memory to read {byte_size} bytes") from error
        if len(content) != byte_size:
            raise _invalid(
                self.name,
                f"{byte_size} bytes at {offset} are not there any more, {len(content)} are left",
            )
        return content

    def write(self, offset: int, content: bytes | memoryview) -> None:
        """Puts bytes into the region.

        Raises:
            Overloaded: the machine has no memory for them.
        """
        try:
            written = os.pwrite(self._file.descriptor, content, self.offset + offset)
        except OSError as error:
            raise Overloaded(
                f"shared memory region {self.name!r:.200}: {error.strerror}"
            ) from error
        if written != len(content):
            raise Overloaded(f"shared memory region {self.name!r:.200}: no room is left")


class Regions:
    """The registered regions by name. Requests look them up without a lock."""

    def __init__(self, *, max_tensor_bytes: int = 2**30, folder: Path = _FOLDER) -> None:
        """`max_tensor_bytes` bounds what one input may make the server allocate."""
        self._max_tensor_bytes = max_tensor_bytes
        self._folder = folder
        self._regions: Mapping[str, Region] = {}
        self._changing = threading.Lock()

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Makes a part of the shared memory object `key` known as `name`.

        Raises:
            AlreadyExists: a region has that name.
            InvalidArgument: there is no such object, or it is shorter than that.
            Unsupported: this system keeps shared memory elsewhere.
        """
        if not name:
            raise _invalid(name, "an empty name; choose one")
        if byte_size < 1:
            raise _invalid(name, f"byte_size {byte_size}; at least 1 is needed")
        file = self._open(name, key)
        end = offset + byte_size
        if offset < 0 or end > file.size():
            raise _invalid(
                name, f"bytes {offset} to {end} of {key!r:.200}, which has {file.size()}"
            )
        with self._changing:
            if name in self._regions:
                raise AlreadyExists(
                    f"shared memory region {name!r:.200} is registered already; unregister it first"
                )
            region = Region(name, key, offset, byte_size, file)
            self._regions = {**self._regions, name: region}

    def unregister(self, name: str) -> None:
        """Forgets a region, all of them without a name; an unknown one is no error, as in Triton.

        Requests under way keep what they use.
        """
        with self._changing:
            kept = {n: r for n, r in self._regions.items() if name and n != name}
            self._regions = kept

    def status(self, name: str = "") -> list[Region]:
        """The region of that name, or all of them.

        Raises:
            NotFound: no region has that name.
        """
        if name:
            return [self._get(name)]
        return list(self._regions.values())

    def find(self, name: str, offset: int, byte_size: int) -> Region:
        """The region, which has room for that many bytes at that offset.

        Raises:
            NotFound: no region has that name.
            InvalidArgument: it is shorter.
        """
        region = self._get(name)
        if offset < 0 or byte_size < 0 or offset + byte_size > region.byte_size:
            raise _invalid(
                name,
                f"bytes {offset} to {offset + byte_size} of a region of {region.byte_size} bytes",
            )
        return region

    def read(self, name: str, offset: int, byte_size: int) -> bytes:
        """Bytes of a region, as they are now.

        Raises:
            NotFound: no region has that name.
            InvalidArgument: it is shorter.
            TooLarge: more than one tensor may have.
            Overloaded: there is not memory enough.
        """
        region = self.find(name, offset, byte_size)
        if byte_size > self._max_tensor_bytes:
            raise TooLarge(
                f"shared memory region {name!r:.200}: {byte_size} bytes for one input, at most "
                f"{self._max_tensor_bytes} are allowed"
            )
        return region.read(offset, byte_size)

    def _get(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            known = ", ".join(map(repr, sorted(self._regions)[:_MAX_LISTED])) or "none"
            raise NotFound(f"no shared memory region {name!r:.200}; registered are {known:.2000}")
        return region

    def _open(self, name: str, key: str) -> _File:
        plain = key.removeprefix("/")
        if (
            not plain
            or len(plain.encode()) > _MAX_KEY
            or plain in (".", "..")
            or {"/", "\0"} & {*plain}
        ):
            raise _invalid(
                name,
                f"key {key!r:.200} names no shared memory object; allowed is one name, with or "
                "without a leading slash",
            )
        if not self._folder.is_dir():
            raise Unsupported(f"system shared memory needs {self._folder}, which is not here")
        try:
            descriptor = os.open(
                self._folder / plain,
                os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
            )
        except OSError as error:
            raise _invalid(name, f"key {key!r:.200}: {error.strerror}") from error
        file = _File(descriptor)
        if not file.is_regular():
            raise _invalid(name, f"key {key!r:.200} is no shared memory object")
        return file


class _File:
    """A descriptor that is closed when nobody needs it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def is_regular(self) -> bool:
        return stat.S_ISREG(os.fstat(self.descriptor).st_mode)


def _invalid(name: str, problem: str) -> InvalidArgument:
    return InvalidArgument(
        f"shared memory region {name!r:.200}: {problem}", field="shared_memory_region"
    )
