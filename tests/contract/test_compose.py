"""Compose file and Dockerfile tell the truth about the rooms, and give no more than needed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@dataclass
class Stage:
    """One target of the Dockerfile."""

    parent: str
    copies: list[str] = field(default_factory=list)
    extras: str = ""
    user: str = "root"
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    @property
    def module(self) -> str:
        assert self.command[:2] == ["python", "-m"]
        return self.command[2]


def read_stages(text: str) -> dict[str, Stage]:
    stages: dict[str, Stage] = {}
    stage = Stage("")
    for line in text.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        match instruction:
            case "FROM":
                parent, _, name = rest.partition(" AS ")
                above = stages.get(parent, Stage(""))
                stage = stages[name] = Stage(
                    parent, [*above.copies], above.extras, above.user, above.command
                )
            case "COPY":
                stage.copies += rest.split()[:-1]
            case "USER":
                stage.user = rest
            case "CMD":
                stage.command = json.loads(rest)
            case "HEALTHCHECK":
                stage.healthcheck = json.loads(rest.partition("CMD ")[2])
            case "RUN" if extras := re.search(r"\"\.\[(.*?)\]\"", rest):
                stage.extras = extras[1]
    return stages


def read_compose() -> dict[str, Any]:
    """The file with each ${NAME:-default} at its default."""
    text = (ROOT / "docker-compose.yml").read_text()
    return yaml.safe_load(re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text))


STAGES = read_stages(DOCKERFILE)
COMPOSE = read_compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
ROOMS = {name: service for name, service in SERVICES.items() if "build" in service}


def stage_of(room: str) -> Stage:
    return STAGES[ROOMS[room]["build"]["target"]]


def settings_of(room: str) -> type[BaseSettings]:
    module = importlib.import_module(f"{stage_of(room).module}.settings")
    (settings,) = {
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, BaseSettings)
        and value.__module__ == module.__name__
    }
    return settings


@pytest.mark.parametrize("room", ROOMS)
def test_each_name_is_a_field_and_each_value_is_accepted(
    room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(room)
    prefix = settings.model_config["env_prefix"]
    environment = ROOMS[room]["environment"]

    allowed = {f"{prefix}{name}".upper() for name in settings.model_fields}
    assert set(environment) <= allowed

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings()


@pytest.mark.parametrize("room", ROOMS)
def test_each_command_is_a_real_module_and_its_files_are_copied(room: str) -> None:
    stage = stage_of(room)

    assert importlib.util.find_spec(f"{stage.module}.__main__") is not None
    assert "command" not in ROOMS[room]
    assert [copy for copy in stage.copies if not (ROOT / copy).exists()] == []
    module = Path(stage.module.replace(".", "/"))
    assert {str(module), str(module.parent)} & set(stage.copies)


@pytest.mark.parametrize("room", ROOMS)
def test_each_image_has_its_own_extra_only(room: str) -> None:
    extra, _, runtime = stage_of(room).extras.partition(",")

    assert extra == ROOMS[room]["build"]["target"].removesuffix("-worker")
    assert runtime in ("", "$ORT")
    chosen = ROOMS[room]["build"].get("args", {}).get("ORT", "cpu")
    assert {extra, chosen} <= set(PYPROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("room", ROOMS)
def test_each_health_check_asks_the_port_that_is_served(room: str) -> None:
    served = {
        value.rpartition(":")[2]
        for name, value in ROOMS[room]["environment"].items()
        if name.endswith("_ADDRESS")
    }
    address = stage_of(room).healthcheck[-1].removeprefix("http://").partition("/")[0]

    assert address.startswith("127.0.0.1:")
    assert address.rpartition(":")[2] in served


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_has_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    user = service["user"] if "image" in service and name not in ROOMS else stage_of(name).user
    assert user != "root"


def test_only_the_gateway_is_published_and_only_to_this_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert set(published) == {"gateway"}
    assert all(port.startswith("127.0.0.1:") for port in published["gateway"])
    assert COMPOSE["networks"]["rooms"] == {"internal": True}


def test_every_volume_is_named_and_used() -> None:
    mounted = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    }
    assert mounted == set(COMPOSE["volumes"])


def test_redis_loses_nothing_it_acknowledged() -> None:
    command = " ".join(SERVICES["redis"]["command"])

    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in command
    assert "--requirepass" in command


def test_redis_is_not_well_while_it_answers_with_errors() -> None:
    assert SERVICES["redis"]["healthcheck"]["test"] == ["CMD", "redis-cli", "-e", "ping"]


def test_only_those_who_publish_may_write_to_the_store() -> None:
    writers = {
        ROOMS[room]["build"]["target"]
        for room in ROOMS
        for volume in ROOMS[room]["volumes"]
        if volume.startswith("store:") and not volume.endswith(":ro")
    }
    assert writers == {"trainer", "explanation-worker", "gateway"}


def test_trying_the_containers_touches_no_deployment(tmp_path: Path) -> None:
    """`make compose` deletes volumes: it needs a project, and a port, of its own."""
    calls = tmp_path / "calls"
    for name in ("docker", "python"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        told = "$COMPOSE_PROJECT_NAME $GATEWAY_PORT $WINTERGARDEN_E2E_ADDRESS"
        program.write_text(f'#!/bin/sh\necho "{told} {name} $*" >>{calls}\n')
        program.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "VENV": str(tmp_path), "COMPOSE_PROJECT_NAME": COMPOSE["name"]}
    subprocess.run([ROOT / "tools/compose.sh"], env=environment, check=True, timeout=30)

    lines = calls.read_text().splitlines()
    project, port = lines[0].split()[:2]
    assert project != COMPOSE["name"]
    assert port != "8500"
    assert all(line.startswith(f"{project} {port} ") for line in lines)
    assert f"{project} {port} 127.0.0.1:{port} python -m pytest tests/e2e" in lines
    filters = [line for line in lines if "--filter" in line]
    assert len(filters) == 3
    assert all(f"label=com.docker.compose.project={project}" in line for line in filters)
