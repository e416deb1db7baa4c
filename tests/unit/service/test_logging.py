from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from wintergarden.service import logging as service_logging
from wintergarden.service.settings import ProcessSettings


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_from_structlog_and_from_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    service_logging.configure("room", ProcessSettings(log_format="json"))
    structlog.get_logger("a.module").info("loaded", model="m", version=3)
    structlog.get_logger("a.module").debug("not shown")
    logging.getLogger("some.library").warning("%s is odd", "this")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("a.module").exception("failed")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["loaded", "this is odd", "failed"]
    assert lines[0] | {"service": "room", "level": "info", "model": "m", "version": 3} == lines[0]
    assert lines[1]["logger"] == "some.library"
    assert lines[2]["exception"][0]["exc_value"] == "broken"
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_console_lines(capsys: pytest.CaptureFixture[str]) -> None:
    service_logging.configure("room", ProcessSettings(log_format="console"))
    structlog.get_logger("a.module").info("loaded", model="m")
    assert "loaded" in capsys.readouterr().err
