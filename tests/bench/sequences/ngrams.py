"""What interpolated Kneser-Ney n-grams need for a character of source code that they never saw.

python tests/bench/sequences/ngrams.py                    5- and 8-grams of python-source
python tests/bench/sequences/ngrams.py --vocabulary 160   of so many characters, as train.py has it

A language model reads the same ids: training and held-out files with their marks.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from kneser_ney import KneserNey  # noqa: E402

from trainer.data.registry import load  # noqa: E402
from wintergarden.text import Vocabulary  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="python-source")
    parser.add_argument("--vocabulary", type=int, default=160, help="characters told apart")
    parser.add_argument("--orders", type=int, nargs="+", default=[5, 8])
    arguments = parser.parse_args()
    dataset = load(arguments.dataset)
    vocabulary = Vocabulary.build(
        dataset.train.inputs.tolist(), "character", arguments.vocabulary, sys.maxsize,
        is_marked=True, is_verbatim=dataset.info.is_verbatim,
    )  # fmt: skip

    def documents(texts: list[str]) -> list[Any]:
        return [vocabulary.encode([text], begin=True, end=True)[0] for text in texts]

    learnt = np.concatenate(documents(dataset.train.inputs.tolist()))
    held_out = documents(dataset.test.inputs.tolist())
    characters = sum(map(len, dataset.test.inputs))
    for order in arguments.orders:
        started = time.perf_counter()
        bits = KneserNey(learnt, vocabulary.size, order).bits_per_character(held_out, characters)
        seconds = time.perf_counter() - started
        sys.stdout.write(f"{order}-gram: {bits:.4f} bits per character, {seconds:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
