"""Dates as people write them in the world's languages, and as ISO 8601 has them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.dataset import Dataset, DatasetInfo, Split

if TYPE_CHECKING:
    from babel import Locale

STYLES = ("full", "long", "medium")
"""Of Unicode's CLDR. The short style is ambiguous: 03/04/05 is in April, in March or in 2003."""

FIRST, LAST = date(1900, 1, 1), date(2099, 12, 31)
DATES = DatasetInfo(
    name="dates",
    summary="126 000 dates written in the styles full, long and medium of all of Babel's locales, "
    "and in ISO 8601; no date of a part is in another",
    source="Unicode CLDR by Babel; Unicode licence v3",
    task="sequence-to-sequence",
    input_name="text",
    input_shape=(),
    units="text in UTF-8",
    value_range=None,
    class_labels=(),
    split_sizes={"train": 120_000, "validation": 2_000, "test": 4_000},
)
_HELD_OUT = {"validation": 2_500, "test": 5_000}  # dates


@dataclass(frozen=True)
class WrittenDate:
    """A date in a locale's words.

    Attributes:
        text: as it is written there.
        iso: YYYY-MM-DD.
        locale: Babel's name of it, such as de_CH.
        style: one of `STYLES`.
    """

    text: str
    iso: str
    locale: str
    style: str


def load_dates() -> Dataset:
    """Texts, and what they are in ISO 8601."""
    parts = {part: draw_dates(part) for part in DATES.split_sizes}

    def split(written: Sequence[WrittenDate]) -> Split:
        return Split(
            np.array([each.text for each in written], dtype=object),
            np.array([each.iso for each in written], dtype=object),
        )

    return Dataset(DATES, **{part: split(written) for part, written in parts.items()})


def draw_dates(
    part: str, count: int | None = None, locales: Sequence[str] = ()
) -> list[WrittenDate]:
    """Dates of a part, each in a locale and a style by chance; always the same.

    Args:
        part: train, validation or test.
        count: how many; None: as many as the data set has.
        locales: Babel's names; empty: all that write dates.
    """
    from babel.dates import format_date

    chance = random.Random(f"dates {part}")
    days, places = _days(part), _locales(tuple(locales))
    drawn = []
    for _ in range(DATES.split_sizes[part] if count is None else count):
        day, place, style = chance.choice(days), chance.choice(places), chance.choice(STYLES)
        text = format_date(day, style, locale=place)
        drawn.append(WrittenDate(text, day.isoformat(), str(place), style))
    return drawn


@cache
def _days(part: str) -> list[date]:
    """All that are in a part."""
    numbers = list(range(FIRST.toordinal(), LAST.toordinal() + 1))
    random.Random(0).shuffle(numbers)
    test = _HELD_OUT["test"]
    rest = test + _HELD_OUT["validation"]
    cut = {"test": slice(test), "validation": slice(test, rest), "train": slice(rest, None)}
    return [date.fromordinal(number) for number in numbers[cut[part]]]


@cache
def _locales(names: tuple[str, ...]) -> list[Locale]:
    """Those that write dates, in the order of their names; reading all of them takes seconds."""
    from babel import Locale, UnknownLocaleError, localedata
    from babel.dates import format_date

    found = []
    for name in names or sorted(localedata.locale_identifiers()):
        try:
            locale = Locale.parse(name)
            format_date(FIRST, "full", locale=locale)
        except (UnknownLocaleError, KeyError, ValueError, AttributeError):
            continue  # a script or variant that Babel names and knows nothing of
        found.append(locale)
    return found
