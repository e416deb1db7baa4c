"""The structure of Python source code, from Python's own tokeniser."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.data.dataset import Array

MAX_COLUMN = 100
_OPENING, _CLOSING = "([{", ")]}"
# Python 3.12 and later take f-strings apart.
_FSTRING_START = getattr(tokenize, "FSTRING_START", -1)
_FSTRING_END = getattr(tokenize, "FSTRING_END", -1)


@dataclass(frozen=True)
class Structure:
    """What each character of a text (L,) is part of.

    Attributes:
        in_string: whether it is in a literal of text or bytes, its quotes among it.
        in_comment: whether it is in a comment.
        depth: brackets around it that are open, itself among them.
        column: characters before it in its line, at most `MAX_COLUMN`.
        starts: whether a statement's first line begins with it.
    """

    in_string: Array
    in_comment: Array
    depth: Array
    column: Array
    starts: Array


def structure(text: str) -> Structure | None:
    """The structure of a file; None where it is no Python of this release."""
    lines = text.split("\n")
    offsets = np.cumsum([0, *(len(line) + 1 for line in lines)])
    size = len(text)
    in_string, in_comment = np.zeros(size, bool), np.zeros(size, bool)
    change, starts = np.zeros(size + 1, np.int64), np.zeros(size, bool)
    is_new, fstring = True, []
    try:
        for token in _tokens(text):
            begin = int(offsets[token.start[0] - 1]) + token.start[1]
            end = int(offsets[token.end[0] - 1]) + token.end[1]
            if token.type == tokenize.NEWLINE:
                is_new = True
            elif is_new and token.string.strip():
                starts[int(offsets[token.start[0] - 1])] = True
                is_new = token.type == tokenize.COMMENT
            if token.type == _FSTRING_START:
                fstring.append(begin)
            elif token.type == _FSTRING_END:
                in_string[fstring.pop() : end] = True
            elif fstring:
                continue
            elif token.type == tokenize.STRING:
                in_string[begin:end] = True
            elif token.type == tokenize.COMMENT:
                in_comment[begin:end] = True
            elif token.type == tokenize.OP and token.string in _OPENING:
                change[begin] += 1
            elif token.type == tokenize.OP and token.string in _CLOSING:
                change[end] -= 1
    except (tokenize.TokenError, SyntaxError, IndexError):
        return None
    column = np.concatenate([np.arange(len(line) + 1) for line in lines])[:size]
    return Structure(
        in_string,
        in_comment,
        np.cumsum(change)[:size],
        np.minimum(column, MAX_COLUMN),
        starts,
    )


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    # Lines end at \n alone, as they were counted.
    return tokenize.generate_tokens(io.StringIO(text, newline="\n").readline)
