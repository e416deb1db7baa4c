"""What a generator knows of its model: which tokens there are, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from services.inference.generation.asking import MAX_TOKENS, PROMPT, TEXT, Asked
from wintergarden.errors import InvalidArgument, TooLarge
from wintergarden.store.manifest import GenerationInfo
from wintergarden.text import PADDING, Vocabulary

MAX_PROMPT = MAX_TOKENS
MAX_TEXT = 4 * MAX_PROMPT
"""Characters: what is certainly too long is not taken apart first."""


@dataclass(frozen=True)
class Writer:
    """Between texts and the tokens of one model.

    Attributes:
        label: what messages call the model.
        begin: the token before each text; None where there is none.
        end: the token after which nothing comes.
        contents: of each token, the UTF-8 that it adds to a text; as many as there are tokens.
        vocabulary: None where the model has none: then it is asked by ids, and answers with them.
    """

    label: str
    begin: int | None
    end: int | None
    contents: tuple[bytes, ...]
    vocabulary: Vocabulary | None

    @classmethod
    def of(
        cls, label: str, info: GenerationInfo, vocabulary: Vocabulary | None, width: int
    ) -> Self:
        """A writer of a model whose logits have `width` tokens.

        Raises:
            InvalidArgument: the vocabulary, or a token of the manifest, does not fit the graph.
        """
        if vocabulary is not None and vocabulary.size > width:
            raise InvalidArgument(
                f"{label}: the vocabulary has {vocabulary.size} tokens, output {info.logits!r} "
                f"{width}"
            )
        for name, token in (("begin", info.begin), ("end", info.end)):
            if token is not None and token >= width:
                raise InvalidArgument(
                    f"{label}: generation.{name} is {token}, output {info.logits!r} has tokens "
                    f"0 to {width - 1}"
                )
        contents: list[bytes] = []
        if vocabulary is not None:
            vocabulary = replace(vocabulary, max_tokens=MAX_PROMPT + 1)
            contents = vocabulary.pieces(range(vocabulary.size))
        contents += [b""] * (width - len(contents))
        return cls(label, info.begin, info.end, tuple(contents), vocabulary)

    def prompt(self, asked: Asked) -> list[int]:
        """What the model is fed before it is asked for the first token; never empty.

        Raises:
            InvalidArgument: there is no vocabulary, no such token, or nothing to begin with.
            TooLarge: it is longer than is allowed.
        """
        ids = list(asked.prompt) if asked.text is None else self._encode(asked.text)
        if len(ids) > MAX_PROMPT:
            raise TooLarge(f"{self.label}: a prompt of {len(ids)} tokens; allowed are {MAX_PROMPT}")
        if self.begin is not None:
            ids.insert(0, self.begin)
        if not ids:
            raise InvalidArgument(
                f"{self.label}: the prompt has no token, and the model none that begins a text; "
                "give at least one",
                field=f"inputs.{TEXT}",
            )
        known = len(self.contents)
        if not 0 <= min(ids) <= max(ids) < known:
            wrong = next(number for number in ids if not 0 <= number < known)
            raise InvalidArgument(
                f"{self.label}: {PROMPT}: no token {wrong}; allowed are 0 to {known - 1}",
                field=f"inputs.{PROMPT}",
            )
        return ids

    def echo(self, asked: Asked) -> str:
        """The text that was given, as the answer repeats it."""
        if asked.text is not None:
            return asked.text
        return b"".join(self.contents[number] for number in asked.prompt).decode(errors="replace")

    def strips(self, asked: Asked) -> bool:
        """Whether the text begins here, and does so with a word and not with its space."""
        is_spaced = self.vocabulary is not None and not self.vocabulary.is_verbatim
        return is_spaced and not asked.prompt and not (asked.text or "").strip()

    def _encode(self, text: str) -> list[int]:
        if self.vocabulary is None:
            raise InvalidArgument(
                f"{self.label}: the model has no vocabulary; give ids as {PROMPT}",
                field=f"inputs.{TEXT}",
            )
        if len(text) > MAX_TEXT:
            raise TooLarge(
                f"{self.label}: a text of {len(text)} characters; allowed are {MAX_TEXT}"
            )
        ids = self.vocabulary.encode([text])[0]
        found: list[int] = ids[np.flatnonzero(ids != PADDING)].tolist()
        return found
