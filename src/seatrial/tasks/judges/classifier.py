"""A small classifier of texts, trained on a concept's own examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np

from seatrial.data.records import TextItem
from seatrial.errors import BadData
from seatrial.files import fingerprint
from seatrial.tasks.judges.base import Judge, Judged, Judgement, Scale

VERSION = 1
"""Raised whenever a change could move a score."""


@final
@dataclass(frozen=True)
class Classifier(Judge):
    """The probability that a text is one of the matching ones: logistic regression.

    It sees words and stretches of 2 to 4 letters, weighted by how rare they are, and looks
    at the completion only. A text of which it knows nothing gets about 0.5. From a few
    dozen examples it learns styles well and convictions hardly: ask ``agreement`` on texts
    that it was not trained on before believing it.
    """

    name: ClassVar[str] = "classifier"
    summary: ClassVar[str] = "probability of matching, learnt from a concept's own texts"

    matching: tuple[str, ...]
    """Texts that show the concept."""
    other: tuple[str, ...]
    """Texts that do not."""

    def __post_init__(self) -> None:
        for side in ("matching", "other"):
            texts = getattr(self, side)
            if not any(text.strip() for text in texts):
                raise BadData(
                    f"a classifier needs {side} texts to learn from, got "
                    f"{len(texts)} with words in them; give a few dozen of each side"
                )

    @classmethod
    def of(cls, items: Sequence[TextItem]) -> "Classifier":
        """Trained on both texts of contrastive items."""
        matching, other = (
            zip(*(item.sides for item in items), strict=True) if items else ((), ())
        )
        return cls(matching, other)

    @property
    def scale(self) -> Scale:
        return Scale(0.0, 1.0)

    @property
    def identity(self) -> str:
        return f"classifier {fingerprint([VERSION, self.matching, self.other])}"

    def judge(self, texts: Sequence[Judged]) -> Sequence[Judgement]:
        if not texts:
            return []
        completions = [item.completion for item in texts]
        return [Judgement(float(p)) for p in self._trained.predict_proba(completions)[:, 1]]

    @cached_property
    def _trained(self) -> Any:
        # Half a second that only those pay who train one.
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        features = make_union(
            TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+|[^\w\s]+"),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
        )
        # A few hundred short texts: little smoothing does best on held-out ones.
        learner = LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced")
        shows = np.repeat([1, 0], [len(self.matching), len(self.other)])
        return make_pipeline(features, learner).fit([*self.matching, *self.other], shows)
