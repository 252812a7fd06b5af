"""One reading of text: its words, which texts are the same, and which are nearly."""

import re
from collections import Counter
from collections.abc import Sequence
from math import log

ALIKE = 0.75
"""Share of their words' weight that two texts have in common to be near copies."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; apostrophes stay inside."""
    return re.findall(r"\w+(?:['’]\w+)*", text.casefold())


def plain(text: str) -> str:
    """A text without case, punctuation and spacing; signs alone stay as they are.

    Texts that are the same so read are copies: no two groups or splits may share one. What
    groups are called rests on this reading, so it never changes.
    """
    return re.sub(r"\W+", " ", text.lower()).strip() or text.strip()


def near_copies(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of texts that say nearly the same, as indices; exact copies among them.

    The similarity is the weighted Jaccard index of their sets of words, where a word in
    ``d`` of ``n`` texts weighs ``log((n + 1) / d)``: a template that all texts share counts
    next to nothing, so only what fills it is compared. Only texts that share one of their
    rarest words, which hold more than ``1 - ALIKE`` of the weight, can be that similar, and
    no other pair is looked at (Chaudhuri et al. 2006, prefix filter).
    """
    sets = [frozenset(words_of(text)) for text in texts]
    counts = Counter(word for own in sets for word in own)
    weights = {word: log((len(texts) + 1) / n) for word, n in counts.items()}
    totals = [sum(weights[word] for word in own) for own in sets]
    seen: dict[str, list[int]] = {}
    pairs = []
    for k, own in enumerate(sets):
        candidates: set[int] = set()
        left = totals[k]
        for word in sorted(own, key=lambda word: (-weights[word], word)):
            if left < ALIKE * totals[k]:
                break
            candidates.update(seen.get(word, ()))
            seen.setdefault(word, []).append(k)
            left -= weights[word]
        for other in sorted(candidates):
            common = sum(weights[word] for word in own & sets[other])
            if common >= ALIKE * (totals[k] + totals[other] - common):
                pairs.append((other, k))
    return pairs
