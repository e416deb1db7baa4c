"""What one may ask of the preparation of an uploaded file, and its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wintergarden.errors import InvalidArgument

Format = Literal["npz", "csv", "parquet", "images", "text"]
FORMATS: tuple[str, ...] = get_args(Format)

_Fraction = Annotated[float, Field(gt=0, lt=1)]
_Side = Annotated[int, Field(ge=1, le=4096)]
_Names = Annotated[tuple[str, ...], Field(max_length=4096)]


class PreparationOptions(BaseModel):
    """How a file becomes a data set; every format reads those that mean something to it.

    Attributes:
        task: what is expected, such as tabular-classification; empty: what the file is. Another
            is refused. A table or an NPZ file is for regression, of the numbers in its label column
            or of y, where that is said; an archive of pictures and masks, or an NPZ file with a
            class for each pixel, is for segmentation where that is said; an archive of pictures
            and a table of captions is for captioning. Texts are for
            sequence-to-sequence, with the column `label` to be written, or for language-modelling,
            where that is said.
        summary: one line about the data set, for people.
        source: where the data come from, for people.
        units: of the inputs' values, for people.
        label: the column with the classes, of CSV, Parquet and text.
        text: the column with the text.
        split: the column that says train, validation or test; empty: parts are made.
        delimiter: between columns; empty: a tab where the first line has one, else a comma.
        drop: columns that are left out.
        categorical: columns of numbers that are names, such as postal codes.
        max_categories: of one column, each of which becomes a column of 0 and 1.
        missing: values that are not there are refused; impute: a number becomes the median of the
            training part, a category one of its own.
        duplicates: keep examples that are equal, or drop all but one.
        validation: share of the examples that training may look at to stop and to choose.
        test: share that nothing may look at.
        seed: of the parts: the same seed, the same parts.
        height: that pictures are resized to, with `width`; None: they all must have one size.
        width: see `height`.
        color: of pictures: grey, rgb, or auto: grey where all of them are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal[
        "",
        "image-classification",
        "tabular-classification",
        "text-classification",
        "regression",
        "segmentation",
        "captioning",
        "sequence-to-sequence",
        "language-modelling",
    ] = ""
    summary: Annotated[str, Field(max_length=200)] = ""
    source: Annotated[str, Field(max_length=500)] = ""
    units: Annotated[str, Field(max_length=200)] = ""
    label: str = "label"
    text: str = "text"
    split: str = ""
    delimiter: Literal["", ",", ";", "\t", "|"] = ""
    drop: _Names = ()
    categorical: _Names = ()
    max_categories: Annotated[int, Field(ge=2, le=1024)] = 64
    missing: Literal["refuse", "impute"] = "refuse"
    duplicates: Literal["keep", "drop"] = "keep"
    validation: _Fraction = 0.1
    test: _Fraction = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    height: _Side | None = None
    width: _Side | None = None
    color: Literal["auto", "grey", "rgb"] = "auto"

    @model_validator(mode="after")
    def _fit_together(self) -> PreparationOptions:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation:g} and test {self.test:g} leave nothing to train "
                "on; together they must be below 1"
            )
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width go together; give both or neither")
        return self


def make_options(options: Mapping[str, Any]) -> PreparationOptions:
    """Options from a request.

    Raises:
        InvalidArgument: naming the option and what is allowed.
    """
    try:
        return PreparationOptions.model_validate(dict(options))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = ", ".join(PreparationOptions.model_fields)
            message = f"there is no such option; there are {known}"
        elif name:
            message += f", got {problem['input']!r:.80}"
        raise InvalidArgument(
            f"option {name}: {message}" if name else message,
            field=f"options.{name}" if name else "options",
        ) from error


def check_format(name: str) -> Format:
    """Returns the name of a format.

    Raises:
        InvalidArgument: there is none of that name.
    """
    if name not in FORMATS:
        raise InvalidArgument(
            f"format {name!r:.80} is not known; there are {', '.join(FORMATS)}", field="format"
        )
    return name  # type: ignore[return-value]  # just checked
