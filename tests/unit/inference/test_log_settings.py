import logging as standard

import pytest
import structlog

from services.inference.protocol.log_settings import LogSettings
from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.service import logging
from wintergarden.service.settings import ProcessSettings

AT_FIRST = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


@pytest.fixture(autouse=True)
def configured():
    handlers, level = standard.root.handlers[:], standard.root.level
    logging.configure("room", ProcessSettings(log_format="json"))
    yield
    logging.log_to(None)
    standard.root.handlers[:] = handlers
    standard.root.setLevel(level)
    structlog.reset_defaults()


def test_settings_are_told_and_changed_one_by_one():
    settings = LogSettings()
    assert settings.update({}) == AT_FIRST
    assert settings.update({"log_info": False}) == {**AT_FIRST, "log_info": False}
    assert settings.update({"log_format": "ISO8601", "log_verbose_level": 2}) == {
        **AT_FIRST,
        "log_info": False,
        "log_format": "ISO8601",
        "log_verbose_level": 2,
    }


def test_they_say_how_the_process_was_started():
    logging.configure("room", ProcessSettings(log_level="debug", log_format="json"))
    assert LogSettings().update({})["log_verbose_level"] == 1
    logging.configure("room", ProcessSettings(log_level="error", log_format="json"))
    told = LogSettings().update({})
    assert [told[n] for n in ("log_info", "log_warning", "log_error")] == [False, False, True]


def test_they_act(capsys, tmp_path):
    settings, log = LogSettings(tmp_path / "logs"), structlog.get_logger("a.module")
    log.debug("hidden")
    settings.update({"log_verbose_level": 1, "log_warning": False})
    log.debug("shown")
    log.warning("hidden")
    assert settings.update({"log_file": "server.log"})["log_file"] == "server.log"
    log.info("in the file")
    settings.update({"log_file": ""})
    log.error("shown")
    told = capsys.readouterr().err
    assert told.count("shown") == 2
    assert "hidden" not in told
    assert "in the file" not in told
    assert (tmp_path / "logs" / "server.log").read_text().count("in the file") == 1


def test_processes_log_to_files_of_their_own(tmp_path):
    LogSettings(tmp_path, suffix=".1").update({"log_file": f"{tmp_path}/server.log"})
    structlog.get_logger("a.module").info("here")
    assert "here" in (tmp_path / "server.log.1").read_text()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"log_info": 1}, "a bool_param"),
        ({"log_info": None}, "a bool_param"),
        ({"log_verbose_level": True}, "a uint32_param"),
        ({"log_verbose_level": "1"}, "a uint32_param"),
        ({"log_format": "xml"}, "default or ISO8601"),
        ({"log_colour": True}, "unknown"),
        ({"log_file": "../x"}, "a plain file name"),
        ({"log_file": "/etc/passwd"}, "a plain file name"),
        ({"log_file": 7.5}, "a plain file name"),
    ],
)
def test_what_cannot_be_changes_nothing(tmp_path, wrong, complaint):
    settings = LogSettings(tmp_path / "logs")
    with pytest.raises(InvalidArgument) as raised:
        settings.update({"log_error": False, **wrong})
    assert complaint in str(raised.value)
    assert settings.update({}) == AT_FIRST
    assert "error" in logging.levels()


def test_without_a_directory_there_are_no_files():
    with pytest.raises(Unsupported, match="--log-directory"):
        LogSettings().update({"log_file": "server.log"})


def test_a_link_is_no_log_file(tmp_path):
    (tmp_path / "server.log").symlink_to(tmp_path / "precious")
    with pytest.raises(InvalidArgument, match="can be opened"):
        LogSettings(tmp_path).update({"log_file": "server.log"})
