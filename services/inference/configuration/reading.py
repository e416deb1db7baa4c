"""Reads a ModelConfig from `config.pbtxt`, or from the JSON of a load request."""

from __future__ import annotations

from google.protobuf import json_format, text_format

from services.inference.configuration.support import check_supported
from wintergarden.errors import InvalidArgument, TooLarge
from wintergarden.wire.model_config_pb2 import ModelConfig

_MAX_BYTES = 2**20
_MAX_DEPTH = 32


def read_text(content: bytes, name: str) -> ModelConfig:
    """Reads `config.pbtxt`, protobuf's text format.

    Args:
        content: of the file.
        name: the model's, which the file may repeat.

    Raises:
        InvalidArgument: it is not valid, or names another model.
        Unsupported: it asks for what is not served here.
    """
    try:
        config = text_format.Parse(content.decode(), ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(
            f"config.pbtxt of model {name!r:.200} is not valid: {_short(error)}"
        ) from error
    return _checked(config, name)


def read_json(content: str, name: str) -> ModelConfig:
    """Reads the `config` of a load request, protobuf's JSON.

    Raises:
        InvalidArgument: it is not valid, or names another model.
        TooLarge: it is longer than is allowed.
        Unsupported: it asks for what is not served here.
    """
    if len(content) > _MAX_BYTES:
        raise TooLarge(f"config has {len(content)} characters; at most {_MAX_BYTES} are allowed")
    try:
        if not content.lstrip().startswith("{"):  # a list would be read as an empty message
            raise ValueError("it is no JSON object")
        config = json_format.Parse(content, ModelConfig(), max_recursion_depth=_MAX_DEPTH)
    except (json_format.ParseError, RecursionError, ValueError) as error:
        raise InvalidArgument(
            f"config of model {name!r:.200} is not a ModelConfig in JSON: {_short(error)}",
            field="parameters.config",
        ) from error
    return _checked(config, name)


def _checked(config: ModelConfig, name: str) -> ModelConfig:
    if config.name not in ("", name):
        raise InvalidArgument(
            f"the configuration of model {name!r:.200} names {config.name!r:.200}; "
            "the name must be the folder's, or left out",
            field="name",
        )
    config.name = name
    check_supported(config)
    return config


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
