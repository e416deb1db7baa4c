"""Files as users have them, made small, and what reading them gives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.preparation.examples import Examples
from trainer.preparation.prepare import Prepared, arrange, read
from wintergarden.store.preparation import make_options


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes | str], Path]:
    def write(content: bytes | str) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def reading(file: Callable[[bytes | str], Path]) -> Callable[..., Examples]:
    """reading(content, "csv", label=…): what is in a file."""

    def reading(content: bytes | str, format_: Any, **options: Any) -> Examples:
        return read(file(content), format_, make_options(options), lambda done: None)

    return reading


@pytest.fixture
def preparing(file: Callable[[bytes | str], Path]) -> Callable[..., Prepared]:
    """preparing(content, "csv", label=…): what is made of a file."""

    def preparing(content: bytes | str, format_: Any, **options: Any) -> Prepared:
        wishes = make_options(options)
        return arrange(read(file(content), format_, wishes, lambda done: None), wishes)

    return preparing


@pytest.fixture
def archive() -> Callable[[Mapping[str, bytes]], bytes]:
    """The ZIP archive of files by name."""

    def archive(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as written:
            for name, content in files.items():
                written.writestr(name, content)
        return buffer.getvalue()

    return archive


@pytest.fixture
def picture() -> Callable[..., bytes]:
    def picture(
        size: tuple[int, int] = (4, 3), mode: str = "L", value: Any = 128, kind: str = "PNG"
    ) -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, size, value).save(buffer, kind)
        return buffer.getvalue()

    return picture


@pytest.fixture
def npz() -> Callable[..., bytes]:
    def npz(**arrays: Any) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    return npz
