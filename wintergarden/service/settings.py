"""Settings of a process: from flags, else the environment, else defaults; wrong ones end it.

Each deployable has one frozen class over these bases. Its fields' descriptions are the help
text; `load` turns them into flags, and any mistake into one line that names the variable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

from wintergarden.service.addresses import Address, TcpAddress, is_local
from wintergarden.service.transport.options import Transport

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]

EXIT_USAGE = 2


class ProcessSettings(BaseSettings):
    """What every long-running process has. Subclasses set `env_prefix`."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    log_level: LogLevel = Field("info", description="least severe level that is logged")
    log_format: LogFormat = Field(
        "auto", description="console for people, json for machines; auto: console on a terminal"
    )
    metrics_address: TcpAddress | None = Field(
        None, description="host:port of GET /metrics (Prometheus) and GET /health; none: neither"
    )
    grace_s: float = Field(
        20.0, ge=0, description="seconds that work under way has to finish after SIGTERM"
    )


class ServiceSettings(ProcessSettings):
    """What every gRPC service has. Subclasses give `address` its default port."""

    address: Address = Field(description="where to serve gRPC: host:port, or unix:/path")
    transport: Transport = Field(
        "native",
        description="native: HTTP/2 in Rust, fastest; grpcio: refuses long requests before "
        "reading them, for addresses that strangers reach",
    )
    insecure: bool = Field(
        False, description="serve other machines although nobody is asked for a key"
    )

    @model_validator(mode="after")
    def _strangers_need_keys(self) -> Self:
        if not self.insecure and not is_local(self.address):
            prefix = self.model_config.get("env_prefix", "")
            raise ValueError(
                f"{prefix}ADDRESS: {self.address} can be reached from other machines, and keys "
                "that would tell friends from strangers do not exist yet; bind 127.0.0.1, or "
                f"accept anyone with --insecure ({prefix}INSECURE=true)"
            )
        return self


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(
    settings_class: type[SettingsT], module: str, arguments: Sequence[str] | None = None
) -> SettingsT:
    """The settings of this process; exits with status 2 and a line for each mistake.

    Args:
        settings_class: the room's class.
        module: as in `python -m MODULE`, for the help.
        arguments: flags; default: those of the command line.
    """
    flags = vars(_parser(settings_class, module).parse_args(arguments))
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return settings_class(**given)
    except ValidationError as error:
        for mistake in error.errors():
            print(_explain(settings_class, mistake), file=sys.stderr)
        print(f"see python -m {module} --help", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def variable(settings_class: type[BaseSettings], field: str) -> str:
    """The environment variable of a field."""
    return f"{settings_class.model_config.get('env_prefix', '')}{field}".upper()


def _parser(settings_class: type[BaseSettings], module: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=(sys.modules[settings_class.__module__].__doc__ or "").strip(),
        epilog="Each flag has an environment variable, in brackets; the flag wins.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, field in settings_class.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        limits = "; ".join(filter(None, [_limits(field), _default(field)]))
        text = f"{field.description or ''} ({limits}) [{variable(settings_class, name)}]"
        text = text.replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(flag, action="store_const", const=True, help=text)
        else:
            parser.add_argument(flag, metavar=_metavar(field), help=text)
    return parser


def _metavar(field: FieldInfo) -> str:
    allowed = _choices(field)
    return "|".join(allowed) if allowed else "VALUE"


def _choices(field: FieldInfo) -> list[str]:
    if get_origin(field.annotation) is not Literal:
        return []
    return [str(choice) for choice in get_args(field.annotation)]


def _limits(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return ", ".join(
        f"{word} {getattr(rule, name)}"
        for rule in field.metadata
        for name, word in words.items()
        if hasattr(rule, name)
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default is PydanticUndefined or default == "":
        return "default: none"
    return f"default: {str(default).lower() if isinstance(default, bool) else default}"


def _explain(settings_class: type[BaseSettings], mistake: ErrorDetails) -> str:
    if not mistake["loc"]:  # a rule over several fields; its message names them
        return mistake["msg"].removeprefix("Value error, ")
    name = str(mistake["loc"][0])
    field = settings_class.model_fields.get(name)
    if field is None:
        return f"{name}: {mistake['msg']}"
    label = variable(settings_class, name)
    if mistake["type"] == "missing":
        return f"{label}: missing; {field.description}"
    got = "" if _is_secret(field) else f"got {_shown(mistake.get('input'))}; "
    allowed = ", ".join(_choices(field)) or mistake["msg"].removeprefix("Value error, ")
    return f"{label}: {got}allowed: {allowed}"


def _shown(value: Any) -> str:
    return repr(value)


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))
