from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

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
    service_logging.log_to(None)


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


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_frames_hold_is_not_logged(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    service_logging.configure("room", ProcessSettings(log_format=log_format))

    def fail(payload: object) -> None:
        raise ValueError("broken")

    try:
        fail(["pati" + "ent"])  # as no line of code has it
    except ValueError:
        structlog.get_logger("a.module").exception("failed")
    told = capsys.readouterr().err
    assert "broken" in told
    assert "in fail" in told or '"name": "fail"' in told
    assert "patient" not in told


def test_levels_are_switched_while_loggers_are_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    service_logging.configure("room", ProcessSettings(log_format="json"))
    log = structlog.get_logger("a.module")
    assert service_logging.levels() == {"info", "warning", "error"}
    log.info("one")
    log.debug("not shown")
    assert not log.is_enabled_for(logging.DEBUG)
    service_logging.log_levels(["debug", "error"])
    assert log.is_enabled_for(logging.DEBUG)
    assert not log.is_enabled_for(logging.INFO)
    log.debug("two")
    log.info("not shown")
    log.log(logging.INFO, "not shown")
    logging.getLogger("some.library").warning("not shown")
    logging.getLogger("some.library").error("three")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("four")
    service_logging.log_levels([])
    log.error("not shown")
    logging.getLogger("some.library").critical("not shown")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["one", "two", "three", "four"]


def test_lines_go_to_a_file_and_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    service_logging.configure("room", ProcessSettings(log_format="console"))
    log = structlog.get_logger("a.module")
    log.info("one")
    file = tmp_path / "room.log"
    for event in ("two", "three"):
        service_logging.log_to(file)
        log.info(event, model="m")
        logging.getLogger("some.library").warning("after %s", event)
        service_logging.log_to(None)
    log.info("four")
    told = capsys.readouterr().err
    assert "one" in told
    assert "four" in told
    assert "two" not in told
    lines = file.read_text().splitlines()
    assert len(lines) == 4
    assert not any("\x1b" in line for line in lines)


def test_a_link_is_no_log_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="link"):
        service_logging.log_to(tmp_path / "link")
