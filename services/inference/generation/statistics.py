"""What a generator has done beside what every scheduler counts."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass, field, replace

# Upper bounds in seconds, of times to the first token.
FIRST_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class GenerationCounts:
    """Since the version was loaded.

    Attributes:
        prompt_tokens: that were fed.
        tokens: that were said.
        first_tokens: how many said their first within each of `FIRST_TOKEN_S`, and later.
        first_token_ns: from arrival to the first token, in all.
    """

    prompt_tokens: int = 0
    tokens: int = 0
    first_tokens: list[int] = field(default_factory=lambda: [0] * (len(FIRST_TOKEN_S) + 1))
    first_token_ns: int = 0


class GenerationStatistics:
    """Thread-safe; touched once a step."""

    def __init__(self) -> None:
        self._counts = GenerationCounts()
        self._lock = threading.Lock()

    def stepped(self, prompt_tokens: int, tokens: int, first_token_ns: list[int]) -> None:
        """Count a step: how many rows were fed of their prompts, how many spoke, who first."""
        with self._lock:
            counts = self._counts
            counts.prompt_tokens += prompt_tokens
            counts.tokens += tokens
            for ns in first_token_ns:
                counts.first_tokens[bisect_left(FIRST_TOKEN_S, ns / 1e9)] += 1
                counts.first_token_ns += ns

    def read(self) -> GenerationCounts:
        """A consistent copy."""
        with self._lock:
            return replace(self._counts, first_tokens=list(self._counts.first_tokens))
