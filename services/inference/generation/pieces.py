"""Token by token to text: never half a character, and nothing of what would stop it.

What a token adds may be a part of a character (byte pairs), or the beginning of a text at which
to stop; it is kept back until one knows.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Pieces:
    """The text of one generation."""

    def __init__(self, stops: Sequence[str] = (), *, is_stripped: bool = False) -> None:
        """The text so far is empty.

        Args:
            stops: texts that end it, and are not part of it; none of them empty.
            is_stripped: it does not begin with a space: that of its first word is left out.
        """
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stops)
        self._held = ""
        self._is_stripped = is_stripped
        self.is_stopped = False

    def add(self, content: bytes) -> str:
        """What a token's bytes let one say; `is_stopped` once a stop is reached."""
        text = self._decoder.decode(content)
        if self._is_stripped and text:
            text = text.lstrip(" ")
            self._is_stripped = not text
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            said, self._held = self._held[: min(found)], ""
            return said
        return self._release(self._held_back())

    def end(self) -> str:
        """What was kept back: nothing comes any more. Half a character becomes "�"."""
        self._held += self._decoder.decode(b"", final=True)
        return self._release(0)

    def _release(self, kept: int) -> str:
        cut = len(self._held) - kept
        said, self._held = self._held[:cut], self._held[cut:]
        return said

    def _held_back(self) -> int:
        """The length of the longest end of the text with which a stop begins."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest
