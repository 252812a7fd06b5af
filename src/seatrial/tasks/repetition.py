"""How much a text repeats itself: repeated n-grams, distinct n-grams, the longest loop."""

import re
from collections.abc import Sequence


def written_words(text: str) -> list[str]:
    """Lower-case words and single signs; a run without spaces or signs is one word.

    Languages that are written without spaces come out as few long words: read their numbers
    with care.
    """
    return re.findall(r"\w+|[^\w\s]", text.lower())


def distinct(words: Sequence[str], n: int) -> float | None:
    """Different n-grams divided by all; None where the text is shorter than one.

    Within one text, where Li et al. 2016 (https://aclanthology.org/N16-1014) count over a
    whole set of replies.
    """
    grams = [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def repetition(words: Sequence[str], n: int = 4) -> float | None:
    """Share of the n-grams that stood in the text before; None where it has none.

    1 minus ``distinct``: "seq-rep-n" of Welleck et al. 2020
    (https://arxiv.org/abs/1908.04319).
    """
    share = distinct(words, n)
    return None if share is None else 1 - share


def degenerate(words: Sequence[str]) -> float:
    """``repetition``, with 0 for a text too short for it and 1 for an empty one."""
    return (repetition(words) or 0.0) if words else 1.0


def longest_loop(words: Sequence[str]) -> int:
    """Words in the longest stretch that says the same at least twice in a row.

    "wait , hold on . wait , hold on ." is a loop of 10 words; a last incomplete round
    counts too. 0 where nothing is said twice in a row.
    """
    longest = 0
    for period in range(1, len(words) // 2 + 1):
        run = 0
        for k in range(period, len(words)):
            run = run + 1 if words[k] == words[k - period] else 0
            if run >= period:
                longest = max(longest, run + period)
    return longest
