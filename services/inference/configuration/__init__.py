"""What `config.pbtxt` says of a model, in Triton's words, and what it comes to.

    config = read_text(Path("config.pbtxt").read_bytes(), "lenet5")
    tensors = bind(config, session.inputs, session.outputs, is_batched=config.max_batch_size > 0)

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

from services.inference.configuration.completion import Completion, complete
from services.inference.configuration.reading import read_json, read_text
from services.inference.configuration.support import check_supported, without_effect
from services.inference.configuration.tensors import Reshape, Tensors, bind
from services.inference.configuration.versions import Wanted, wanted, with_policy

__all__ = [
    "Completion",
    "Reshape",
    "Tensors",
    "Wanted",
    "bind",
    "check_supported",
    "complete",
    "read_json",
    "read_text",
    "wanted",
    "with_policy",
    "without_effect",
]
