"""Whether a judge agrees with people: a small labelled set, kappa and rank correlation."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atanh, sqrt, tanh
from typing import final

import numpy as np
from scipy.special import stdtrit

from seatrial.data.records import TextItem
from seatrial.errors import BadData
from seatrial.stats import cluster_share
from seatrial.tasks.judges.base import Judge, Judged, Scale
from seatrial.types import Estimate


@final
@dataclass(frozen=True)
class Labelled:
    """A text and what a person says of it."""

    text: Judged
    label: float
    """On the judge's scale; one of its ends where people only say yes or no."""
    group: str
    """Texts of one group are no independent evidence."""


@final
@dataclass(frozen=True)
class Agreement:
    """How far a judge and labels agree, over the texts that got a score."""

    n: int
    unreadable: int
    """How many texts got no score; they are left out of the rest."""
    same: Estimate
    """Share of texts that both put into the same class."""
    kappa: Estimate
    """Cohen's: ``same``, in units of what chance leaves to be gained; 0 is chance."""
    rank: Estimate
    """Spearman's correlation of scores and labels."""


def agreement(
    judge: Judge, labelled: Sequence[Labelled], cuts: Sequence[float] | None = None
) -> Agreement:
    """Ask a judge about labelled texts and compare.

    Args:
        judge: is asked about every text.
        labelled: at least two groups, of more than one class.
        cuts: where classes meet: a number belongs to the class above a cut it lies on. By
            default one cut in the middle of the judge's scale.

    Raises:
        BadData: if the labels are all of one class, or there is too little to compare.
        SeatrialError: whatever the judge raises.
    """
    given = judge.judge([entry.text for entry in labelled])
    middle = sum(judge.scale) / 2
    return agree(
        [judgement.score for judgement in given],
        [entry.label for entry in labelled],
        [entry.group for entry in labelled],
        cuts=[middle] if cuts is None else cuts,
    )


def agree(
    scores: Sequence[float | None],
    labels: Sequence[float],
    groups: Sequence[str],
    *,
    cuts: Sequence[float],
) -> Agreement:
    """Compare scores with labels, text by text; as ``agreement``, without asking."""
    read = [k for k, score in enumerate(scores) if score is not None]
    a = np.array([scores[k] for k in read], dtype=float)
    b = np.array([labels[k] for k in read], dtype=float)
    kept = [groups[k] for k in read]
    if len(set(np.digitize(b, sorted(cuts)).tolist())) < 2:
        raise BadData(
            f"the {len(b)} labels that can be compared are all of one class, so agreement "
            "beyond chance cannot be told; label texts of both kinds, or give other cuts"
        )
    same, kappa = _kappa(np.digitize(a, sorted(cuts)), np.digitize(b, sorted(cuts)), kept)
    rank = _spearman(a, b, len(set(kept)))
    return Agreement(len(read), len(scores) - len(read), same, kappa, rank)


def _kappa(a: np.ndarray, b: np.ndarray, groups: list[str]) -> tuple[Estimate, Estimate]:
    """Share of equal classes, and Cohen's kappa, its linear image.

    The interval takes the shares of the classes as given, which moves its ends by little,
    and is honest where agreement is perfect, where a bootstrap would have no width.
    """
    same = cluster_share((a == b).tolist(), groups)
    chance = sum(float(np.mean(a == k) * np.mean(b == k)) for k in set(a.tolist()))

    def beyond(share: float) -> float:
        # A share that these classes do not allow could lie below the least kappa.
        return max((share - chance) / (1 - chance), -1.0)

    kappa = Estimate(beyond(same.value), beyond(same.low), beyond(same.high), same.n)
    return same, kappa


def _spearman(a: np.ndarray, b: np.ndarray, groups: int) -> Estimate:
    """Spearman's rho with Bonett and Wright's interval (2000), groups as its items.

        z = atanh(rho) ± t(.975, groups - 1) * sqrt((1 + rho^2 / 2) / (groups - 3))

    A rho of 1 is taken for half a step less, the step to two neighbours swapped, else it
    would have no interval. Scores that are all alike have no order: 0, from -1 to 1.
    """
    from scipy.stats import rankdata  # slow to import

    if a.std() == 0:
        return Estimate(0.0, -1.0, 1.0, groups)
    rho = min(max(float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]), -1.0), 1.0)
    if groups < 4:
        return Estimate(rho, -1.0, 1.0, groups)
    most = 1 - 6 / (groups * (groups**2 - 1))
    z = atanh(max(-most, min(rho, most)))
    half = float(stdtrit(groups - 1, 0.975)) * sqrt((1 + rho**2 / 2) / (groups - 3))
    low, high = min(tanh(z - half), rho), max(tanh(z + half), rho)
    return Estimate(rho, low, high, groups)


def labelled_items(items: Sequence[TextItem], about: str, scale: Scale) -> list[Labelled]:
    """Contrastive items as a labelled set: texts that do and do not show it.

    Args:
        items: each gives two texts.
        about: the concept in words.
        scale: matching texts get its upper end as their label, the others its lower end.
    """
    return [
        Labelled(Judged(item.prompt, f" {text.strip()}", about), label, item.group)
        for item in items
        for text, label in zip(item.sides, (scale.high, scale.low), strict=True)
    ]
