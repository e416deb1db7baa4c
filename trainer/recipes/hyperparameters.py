"""What a user may choose about a training. An architecture adds its own choices and defaults.

The class that an architecture's hyperparameters derive from says which recipe trains it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.json_schema import GenerateJsonSchema

from wintergarden.errors import InvalidArgument

_SHOWN = 80  # characters of a refused value

Precision = Literal["fp32", "bf16", "fp16"]
ClassWeights = Literal["none", "balanced", "median_frequency"]
Prefix = Annotated[str, Field(pattern=r"^([A-Za-z0-9_.]{1,200}|\*)$")]
"""Of names in a network's state dict: `features` is all of `features.0.weight` and its like."""

# Those whose defaults depend on the architecture.
Dropout = Annotated[float, Field(ge=0, lt=1)]
Epochs = Annotated[
    int, Field(ge=1, le=10_000, description="Passes over the training data, at most.")
]
LearningRate = Annotated[
    float, Field(gt=0, le=10, description="The step size, at the peak of its schedule.")
]
L2 = Annotated[
    float,
    Field(
        ge=0,
        le=10,
        description="Weight in the loss of half the sum of squared weights; biases are free.",
    ),
]


class _UntitledSchema(GenerateJsonSchema):
    """Titles would only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


class Hyperparameters(BaseModel):
    """Field descriptions, defaults and limits are what users are shown."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @classmethod
    def schema_document(cls) -> dict[str, Any]:
        """The JSON Schema that values must meet."""
        return cls.model_json_schema(schema_generator=_UntitledSchema)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The hyperparameters with defaults filled in.

        Args:
            values: JSON values by name. As in JSON, 20.0 is the integer 20; text is no number.

        Raises:
            InvalidArgument: naming the hyperparameter, what it got and what is allowed.
        """
        try:
            return cls.model_validate_json(json.dumps(_whole(dict(values))))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
        except (TypeError, ValueError) as error:
            raise InvalidArgument(
                f"hyperparameters must be JSON values: {error}", field="hyperparameters"
            ) from error
        path = ".".join(str(part) for part in problem["loc"])
        name = str(problem["loc"][0])
        if name not in cls.model_fields:
            allowed = ", ".join(sorted(cls.model_fields))
            message = f"no hyperparameter {name!r:.{_SHOWN}}; there are {allowed}"
        else:
            got = f"{values[name]!r:.{_SHOWN}}"
            allowed = _limits(cls.schema_document()["properties"][name])
            if problem["type"] == "value_error":  # right by itself, wrong beside another
                allowed = str(problem["ctx"]["error"])
            message = f"hyperparameter {path!r}: got {got}; allowed is {allowed}"
        raise InvalidArgument(message, field=f"hyperparameters.{path}")


class SupervisedHyperparameters(Hyperparameters):
    """Of `recipes.supervised`, whatever the task."""

    epochs: Epochs = 60
    batch_size: int = Field(default=64, ge=1, le=4096)
    """Examples per step."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam (Kingma, Ba 2015), or stochastic gradient descent with Nesterov's momentum."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd alone; 0 is plain gradient descent. Schedule one_cycle moves it by itself."""
    learning_rate: LearningRate = 3e-3
    schedule: Literal["one_cycle", "cosine", "step", "plateau", "constant"] = "one_cycle"
    """How the learning rate runs: up and down over all epochs (Smith, Topin 2018), down over all
    (Loshchilov, Hutter 2017), down by a factor every few epochs or when the validation loss has
    stopped to fall, or not at all."""
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Share of all steps over which the learning rate first rises linearly; not for one_cycle,
    which has its own."""
    decay_factor: float = Field(default=0.1, gt=0, lt=1)
    """Of the learning rate, each time that schedule step or plateau lowers it."""
    decay_epochs: int = Field(default=10, ge=1, le=10_000)
    """Epochs after which schedule step lowers the learning rate, and plateau when the validation
    loss has not become better in so many."""
    l1: float = Field(default=0.0, ge=0, le=10)
    """Weight in the loss of the sum of absolute weights, which makes weights 0; biases are free."""
    l2: L2 = 0.0
    clip_norm: float = Field(default=0.0, ge=0)
    """Gradients whose norm is larger are scaled down to it (Pascanu et al. 2013); 0 leaves them."""
    accumulate: int = Field(default=1, ge=1, le=1024)
    """Parts in which a step's batch is computed, to need less memory; the gradients add up to the
    same."""
    precision: Precision = "fp32"
    """What matrix products and convolutions are computed in while training; fp16 on CUDA alone.
    Weights, sums and what is exported stay in fp32 (Micikevicius et al. 2018)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target given to all classes alike (Szegedy et al. 2016, §7)."""
    class_weights: ClassWeights = "none"
    """What examples of a class count in the loss: all alike, or so that each class counts alike, or
    the median frequency over the class's own (Eigen, Fergus 2015)."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Keep a moving average of the weights with this decay, judge it after each epoch and export it
    (Polyak, Juditsky 1992); 0 keeps none. It begins lower: (1 + step) / (10 + step)."""
    patience: int = Field(default=0, ge=0, le=10_000)
    """Stop after so many epochs without a better validation loss, and keep the best epoch's
    weights; 0 trains to the end of the schedule and keeps the last. A schedule other than
    constant is at its best at its end: give it patience to get there."""

    init_from: str = Field(default="", max_length=300)
    """Begin with the weights of another model: `model`, `model:3` or `model:stable` of the store,
    or `sha256:…` of an uploaded state dict, as safetensors or torch. The last layers are new."""
    replace: tuple[Prefix, ...] = Field(default=(), max_length=32)
    """What is new all the same with init_from, by the beginnings of names; empty: what the
    architecture says depends on the classes."""
    freeze: tuple[Prefix, ...] = Field(default=(), max_length=32)
    """What stays as it is, by the beginnings of names; `*` is all but what is new."""
    unfreeze_epochs: int = Field(default=0, ge=0, le=10_000)
    """Set the last of freeze free after so many epochs, the one before it after as many again, and
    so on (Howard, Ruder 2018, §3.3); 0 leaves them frozen."""
    rate_decay: float = Field(default=1.0, gt=0, le=1)
    """Of the learning rate from each layer with weights to the one before it (Howard, Ruder 2018,
    §3.2); 1 gives all the same."""

    @field_validator("freeze", "unfreeze_epochs", "replace")
    @classmethod
    def _has_a_source(cls, value: Any, beside: ValidationInfo) -> Any:
        if value and not beside.data.get("init_from"):
            raise ValueError("nothing without init_from, whose weights it is about")
        return value

    @field_validator("warmup")
    @classmethod
    def _has_one_warmup(cls, value: float, beside: ValidationInfo) -> float:
        if value and beside.data.get("schedule") == "one_cycle":
            raise ValueError("0 with schedule one_cycle, which has a warm-up of its own")
        return value

    @field_validator("accumulate")
    @classmethod
    def _has_parts(cls, value: int, beside: ValidationInfo) -> int:
        batch_size = beside.data.get("batch_size", value)
        if value > batch_size:
            raise ValueError(f"at most the batch_size, {batch_size}: a part is an example or more")
        return value


class ClassificationHyperparameters(SupervisedHyperparameters):
    """Of networks that tell classes, or values, of tables and texts."""


class TextHyperparameters(ClassificationHyperparameters):
    """Of networks that tell classes of texts."""

    tokens: Literal["character", "word", "byte-pair"] = "character"
    """What a text is taken apart into: characters; words and signs in small letters; or pieces of
    words that are learnt from the training texts, of which none is ever unknown."""
    vocabulary_size: int = Field(default=2000, ge=1, le=50_000)
    """The most frequent tokens of the training texts that the network tells apart; byte pairs are
    256 or more."""
    max_tokens: int = Field(default=256, ge=1, le=16_384)
    """Tokens of a text that are looked at; what follows is cut off."""

    @field_validator("vocabulary_size")
    @classmethod
    def _has_all_bytes(cls, value: int, beside: ValidationInfo) -> int:
        if beside.data.get("tokens") == "byte-pair" and value < 256:
            raise ValueError("at least 256 with tokens byte-pair: every byte is one")
        return value


class SequenceHyperparameters(TextHyperparameters):
    """Of networks that read and write sequences."""

    target_tokens: Literal["character", "word", "byte-pair"] = "character"
    """What texts that are to be written are taken apart into, where they answer others."""
    target_vocabulary_size: int = Field(default=2000, ge=1, le=50_000)
    """The most frequent tokens of these texts that can be written."""
    max_target_tokens: int = Field(default=256, ge=1, le=16_384)
    """Tokens of such a text; what follows is cut off."""
    piece_tokens: int = Field(default=128, ge=2, le=16_384)
    """Of a language model: tokens of a document that are learnt in a step, and that gradients go
    back through; the state goes on (truncated back-propagation through time)."""
    beam_width: int = Field(default=1, ge=1, le=64)
    """Of texts that answer others: beginnings that are kept while the likeliest text is looked for;
    1 takes the likeliest token each time."""
    length_penalty: float = Field(default=0.6, ge=0, le=5)
    """Of a beam: how much longer texts are preferred to shorter ones (Wu et al. 2016, eq. 14)."""


class AugmentationHyperparameters(Hyperparameters):
    """Of what looks at images."""

    augment: bool = True
    """Train on randomly rotated, scaled, sheared and shifted images."""


class ImageClassificationHyperparameters(
    AugmentationHyperparameters, ClassificationHyperparameters
):
    """Of `recipes.supervised` on images."""

    adversarial_epsilon: float = Field(default=0.0, ge=0, le=1e6)
    """Train on images that were moved against the network, each value by at most so much, in the
    images' own units (Madry et al. 2018); 0 leaves them."""
    adversarial_steps: int = Field(default=1, ge=1, le=1000)
    """Of the ascent that moves them: 1 is FGSM from a random point (Wong et al. 2020), more is
    PGD, stronger and as many times as slow."""


class SegmentationHyperparameters(ImageClassificationHyperparameters):
    """Of networks that tell the class of each pixel; images are warped with their masks."""

    class_weights: ClassWeights = "median_frequency"
    """What pixels of a class count in the loss: all alike, or so that each class counts alike, or
    the median frequency over the class's own (Eigen, Fergus 2015)."""


def _whole(value: Any) -> Any:
    """JSON knows one kind of number, and some clients write 20.0 for 20."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_whole(element) for element in value]
    if isinstance(value, dict):
        return {name: _whole(element) for name, element in value.items()}
    return value


def _limits(schema: Mapping[str, Any]) -> str:
    """A property's JSON Schema in words."""
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    if schema["type"] == "array":
        return f"a list of at most {schema['maxItems']}, each {_limits(schema['items'])}"
    words = {"integer": "an integer", "number": "a number", "boolean": "true or false"}
    if schema["type"] == "string":
        if "maxLength" in schema:
            return f"a text of at most {schema['maxLength']} characters"
        return f"a text like {schema['pattern']}" if "pattern" in schema else "a text"
    limits = [
        f"{sign} {schema[key]:g}"
        for key, sign in (
            ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")
        )
        if key in schema
    ]  # fmt: skip
    return " ".join([words[schema["type"]], " and ".join(limits)]).strip()
