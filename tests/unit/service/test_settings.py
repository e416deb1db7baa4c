from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from wintergarden.service.settings import ServiceSettings, load


class RoomSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="ROOM_")

    address: str = Field("127.0.0.1:8599", description="host:port of the gRPC server")
    store_uri: str = Field(description="model store: a path or s3://bucket/prefix")
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1"), description="with its password")
    limit: int = Field(3, ge=1, le=9, description="rows")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOM_STORE_URI", "/models")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        load(RoomSettings, "room", arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_flags_win_over_the_environment_and_that_over_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROOM_LIMIT", "5")
    monkeypatch.setenv("ROOM_TRANSPORT", "grpcio")
    settings = load(RoomSettings, "room", ["--limit", "7", "--insecure"])
    assert (settings.limit, settings.transport, settings.insecure) == (7, "grpcio", True)
    assert settings.store_uri == "/models"
    assert settings.grace_s == 20


def test_frozen() -> None:
    settings = load(RoomSettings, "room", [])
    with pytest.raises(Exception, match="frozen"):
        settings.limit = 4  # type: ignore[misc]


def test_a_missing_value_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ROOM_STORE_URI")
    assert "ROOM_STORE_URI: missing; model store: a path or s3" in refusal(capsys)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ROOM_TRANSPORT", "http", "ROOM_TRANSPORT: got 'http'; allowed: native, grpcio"),
        ("ROOM_LIMIT", "10", "ROOM_LIMIT: got '10'; allowed: Input should be less than or equal"),
        ("ROOM_LIMIT", "many", "ROOM_LIMIT: got 'many'; allowed: Input should be a valid integer"),
        ("ROOM_METRICS_ADDRESS", "9500", "ROOM_METRICS_ADDRESS: got '9500'; allowed: host:port"),
        ("ROOM_METRICS_ADDRESS", "h:99999", "allowed: host:port with a port of 0 to 65535"),
        ("ROOM_LOG_LEVEL", "loud", "allowed: debug, info, warning, error"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    says: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert says in refusal(capsys)


def test_secrets_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Secret(RoomSettings):
        password: SecretStr = Field(SecretStr(""), max_length=3, description="short")

    monkeypatch.setenv("ROOM_PASSWORD", "swordfish")
    with pytest.raises(SystemExit):
        load(Secret, "room", [])
    error = capsys.readouterr().err
    assert "ROOM_PASSWORD" in error
    assert "swordfish" not in error


@pytest.mark.parametrize("address", ["0.0.0.0:8500", "[::]:8500", "192.0.2.1:8500", "host:8500"])
def test_other_machines_only_when_told(capsys: pytest.CaptureFixture[str], address: str) -> None:
    error = refusal(capsys, "--address", address)
    assert "ROOM_ADDRESS" in error
    assert "ROOM_INSECURE=true" in error
    assert "keys" in error
    settings = load(RoomSettings, "room", ["--address", address, "--insecure"])
    assert settings.address == address


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "127.9.9.9:1", "localhost:8500", "[::1]:8500", "unix:/run/a.sock"]
)
def test_this_machine_needs_no_telling(address: str) -> None:
    assert load(RoomSettings, "room", ["--address", address]).address == address


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(RoomSettings, "room", ["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for expected in (
        "python -m room",
        "[ROOM_ADDRESS]",
        "(default: 127.0.0.1:8599)",
        "--store-uri VALUE model store: a path or s3://bucket/prefix (required) [ROOM_STORE_URI]",
        "--transport native|grpcio",
        "seconds that work under way has to finish",
        "(at least 0; default: 20.0) [ROOM_GRACE_S]",
        "rows (at least 1, at most 9; default: 3) [ROOM_LIMIT]",
    ):
        assert expected in text
    assert "SecretStr" not in text.replace("SecretStr('**********')", "")


def test_every_field_of_the_base_is_described() -> None:
    fields: dict[str, Any] = ServiceSettings.model_fields
    assert [name for name, field in fields.items() if not field.description] == []
