"""Which byte pairs of texts become one token; `wintergarden.byte_pair` says what they are."""

from __future__ import annotations

import json
from collections.abc import Iterable

from wintergarden.byte_pair import ALPHABET, CHUNK


def learn_byte_pairs(texts: Iterable[str], size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The most frequent pairs of texts, merged one after another; always the same.

    Args:
        texts: to learn from.
        size: of the vocabulary, at least one for each byte.

    Returns:
        The tokens, at most `size`, and the merges that lead to them.
    """
    # Needed by those alone who ask for byte pairs.
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CHUNK), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(ALPHABET), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)

    learnt = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    merges = (m if isinstance(m, str) else " ".join(m) for m in learnt["merges"])
    return tuple(tokens), tuple(merges)
