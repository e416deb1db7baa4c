"""Which language a text is in, from the translations of Django's own messages."""

from __future__ import annotations

import gettext
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from trainer.data.dataset import Array, DatasetInfo
from wintergarden.errors import FailedPrecondition

TEXTS_EACH = 200
SHORTEST = 12
"""Characters; `OK` is in no language."""

LANGUAGES = DatasetInfo(
    name="languages",
    summary="14 200 short texts in 71 languages, 200 in each",
    source="the translations of Django's messages; BSD licence, Django Software Foundation",
    task="text-classification",
    input_name="text",
    input_shape=(),
    units="text in UTF-8",
    value_range=None,
    class_labels=(
        "af", "ar", "az", "be", "bg", "bn", "ca", "ckb", "cs", "cy", "da", "de", "dsb", "el",
        "eo", "es", "et", "eu", "fa", "fi", "fr", "ga", "gd", "gl", "he", "hi", "hr", "hsb", "hu",
        "hy", "ia", "id", "is", "it", "ja", "ka", "ko", "ky", "lt", "lv", "mk", "ml", "mn", "mr",
        "ms", "nb", "ne", "nl", "nn", "os", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sr",
        "sr_Latn", "sv", "sw", "tg", "th", "tk", "tr", "ug", "uk", "uz", "vi", "zh_Hans",
        "zh_Hant",
    ),
    split_sizes={"train": 9940, "validation": 1420, "test": 2840},
)  # fmt: skip
"""Without regional variants such as es_MX, which say most things alike, and languages that
Django knows little of."""


def load_languages() -> tuple[Array, Array]:
    """Texts (14200,) of `str` and their languages."""
    texts = _translations()
    # What two languages say alike is no evidence of either.
    languages_of = Counter(text for name in LANGUAGES.class_labels for text in texts[name])
    generator = np.random.default_rng(0)
    inputs: list[str] = []
    for language in LANGUAGES.class_labels:
        own = sorted(text for text in texts[language] if languages_of[text] == 1)
        if len(own) < TEXTS_EACH:
            raise FailedPrecondition(
                f"data set {LANGUAGES.name!r} needs {TEXTS_EACH} texts in {language!r}, and there "
                f"are {len(own)}: it needs Django, pip install 'django>=5.2,<6'"
            )
        inputs += [own[i] for i in generator.permutation(len(own))[:TEXTS_EACH]]
    labels = np.repeat(np.arange(len(LANGUAGES.class_labels)), TEXTS_EACH)
    return np.array(inputs, dtype=object), labels


def _translations() -> dict[str, set[str]]:
    """By language; without importing Django: its catalogues are all that is wanted of it."""
    texts: dict[str, set[str]] = defaultdict(set)
    spec = find_spec("django")
    if spec is None or not spec.origin:
        return texts
    for path in sorted(Path(spec.origin).parent.glob("**/locale/*/LC_MESSAGES/django.mo")):
        with path.open("rb") as file:
            catalogue: dict[object, str] = vars(gettext.GNUTranslations(file))["_catalog"]
        for asked, translated in catalogue.items():
            message = asked[0] if isinstance(asked, tuple) else asked
            text = translated.strip()
            if message and translated != message and len(text) >= SHORTEST:
                texts[path.parts[-3]].add(text)
    return texts
