"""Which of the published versions a configuration wants served."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from wintergarden.wire.model_config_pb2 import ModelConfig


@dataclass(frozen=True)
class Wanted:
    """Versions to serve.

    Attributes:
        versions: the best first.
        limit: how many of them, that can be loaded; None: all.
        reason: why another version is not served.
    """

    versions: tuple[int, ...]
    limit: int | None
    reason: str

    @property
    def first(self) -> tuple[int, ...]:
        """The versions that are served when every one can be loaded."""
        return self.versions[: self.limit]


def with_policy(config: ModelConfig, default_latest: int) -> ModelConfig:
    """The configuration, with the default policy where it names none."""
    full = ModelConfig()
    full.CopyFrom(config)
    if full.version_policy.WhichOneof("policy_choice") is None:
        full.version_policy.latest.num_versions = default_latest
    return full


def wanted(
    config: ModelConfig,
    published: Collection[int],
    default_latest: int,
    shadow: int | None = None,
) -> Wanted:
    """What the version policy makes of the published versions.

    Args:
        config: with a `version_policy`, or without.
        published: all there are.
        default_latest: how many of the latest are served when there is no policy.
        shadow: the version that answers nobody: none of the latest, or there might be no other.
    """
    newest = tuple(sorted(published, reverse=True))
    answering = tuple(v for v in newest if v != shadow)
    policy = config.version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return Wanted(newest, None, "")
        case "specific":
            named = set(policy.specific.versions)
            return Wanted(
                tuple(v for v in newest if v in named),
                None,
                f"not among the versions {sorted(named)} of its version policy",
            )
        case "latest":
            latest = max(1, policy.latest.num_versions)
            return Wanted(answering, latest, f"not among the latest {latest} of its version policy")
    return Wanted(
        answering,
        default_latest,
        f"not among the latest {default_latest} (INFERENCE_VERSIONS_SERVED)",
    )
