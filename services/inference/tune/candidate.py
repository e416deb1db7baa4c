"""One way of serving a model, and what its configuration says then."""

from __future__ import annotations

from dataclasses import dataclass

from wintergarden.wire.model_config_pb2 import ModelConfig, ModelInstanceGroup


@dataclass(frozen=True)
class Candidate:
    """A way of serving.

    Attributes:
        threads: of one run.
        instances: runs that may go on at once.
        max_batch_size: rows of one run, at most; 0: requests run alone and whole.
        delay_us: how long a run waits for company.
    """

    threads: int
    instances: int
    max_batch_size: int
    delay_us: int = 0

    def configure(self, base: ModelConfig) -> ModelConfig:
        """The configuration that asks for it; all else is as in `base`."""
        config = ModelConfig()
        config.CopyFrom(base)
        config.max_batch_size = self.max_batch_size
        config.parameters["intra_op_thread_count"].string_value = str(self.threads)
        kind = base.instance_group[0].kind if base.instance_group else ModelInstanceGroup.KIND_AUTO
        del config.instance_group[:]
        config.instance_group.add(kind=kind, count=self.instances)
        if self.delay_us or config.HasField("dynamic_batching"):
            config.dynamic_batching.max_queue_delay_microseconds = self.delay_us
            del config.dynamic_batching.preferred_batch_size[:]
        return config


def powers_of_two(limit: int) -> list[int]:
    """1, 2, 4 … and the limit itself."""
    powers = [1]
    while 2 * powers[-1] <= limit:
        powers.append(2 * powers[-1])
    return powers if powers[-1] == limit else [*powers, limit]
