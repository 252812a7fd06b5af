"""Promote and suppress apart, behaviours on one scale (Pres et al. 2410.17245).

No code of the paper was released; where its text leaves a choice, ours is named here.

The paper asks whether steering makes continuations that show a behaviour more likely and
those that do not less likely, among the ones where there is room for it: each kind is
sorted by how likely the unsteered model finds it, and the change is averaged over the
lowest 25, 50 and 75 %. Steering succeeds if it promotes the one and suppresses the other.

Ours: the changes are differences of the mean log-likelihood per token; we add the whole
kind; and for what is to be suppressed also the highest shares, because there is most to
take from what is likely. The reference level, halfway between the likeliest continuation
that does not show the behaviour and the least likely that does, is subtracted from levels
of all behaviours, which puts their zeros in one place and cancels in changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, final

from seatrial.errors import BadData, BadOption
from seatrial.stats.bootstrap import cluster_difference, cluster_mean
from seatrial.types import Estimate, Score

Side = Literal["matching", "other"]
End = Literal["lowest", "highest", "all"]

SIDES: tuple[Side, ...] = ("matching", "other")

SHARES: tuple[float, ...] = (0.25, 0.5, 0.75)
"""Of the continuations of one kind; all of them come on top."""


@final
@dataclass(frozen=True)
class PromotionCut:
    """The change of some continuations of one kind, steered minus unsteered."""

    side: Side
    end: End
    """Whether the unsteered model finds these the least or the most likely ones."""
    share: float
    change: Estimate
    """In nats per token: to promote is above 0, to suppress below."""


@final
@dataclass(frozen=True)
class Promotion:
    """Where the continuations of one behaviour stand, and where steering takes them.

    Levels are nats per token above the reference level of the unsteered model.
    """

    reference: float
    """That level itself, in nats per token."""
    unsteered: Mapping[Side, Estimate]
    steered: Mapping[Side, Estimate]
    cuts: tuple[PromotionCut, ...]

    @property
    def promotes(self) -> bool:
        """Whether all continuations that show it become likelier, beyond the interval."""
        return self.change("matching").low > 0

    @property
    def suppresses(self) -> bool:
        """Whether all that do not show it become less likely, beyond the interval."""
        return self.change("other").high < 0

    def change(self, side: Side, end: End = "all", share: float = 1.0) -> Estimate:
        """The change of one cut.

        Raises:
            BadOption: if there is no such cut.
        """
        for cut in self.cuts:
            if (cut.side, cut.end, cut.share) == (side, end, share):
                return cut.change
        known = ", ".join(f"{cut.side} {cut.end} {cut.share:g}" for cut in self.cuts)
        raise BadOption(f"there is no cut {side} {end} {share:g}; there are: {known}")


def promotion(
    unsteered: Sequence[Score],
    steered: Sequence[Score],
    shares: Sequence[float] = SHARES,
) -> Promotion:
    """What steering does to the continuations of one behaviour.

    Args:
        unsteered: scores of the task ``open``, with the metrics ``matching`` and ``other``
            in nats per token.
        steered: the same items in the same order.
        shares: of the continuations of one kind, by how likely they are unsteered; rounded
            up to whole items.

    Raises:
        BadData: if the items differ, or a cut has items of one group only.
        BadOption: for a share that is not between 0 and 1.
    """
    _check(unsteered, steered, shares)
    reference = _reference(unsteered)
    cuts: list[tuple[Side, End, float]] = [(side, "all", 1.0) for side in SIDES]
    for share in shares:
        cuts.extend((side, "lowest", share) for side in SIDES)
        cuts.append(("other", "highest", share))
    return Promotion(
        reference,
        {side: _level(unsteered, side, reference) for side in SIDES},
        {side: _level(steered, side, reference) for side in SIDES},
        tuple(_cut(unsteered, steered, *cut) for cut in cuts),
    )


def on_one_scale(
    cells: Mapping[str, tuple[Sequence[Score], Sequence[Score]]],
    shares: Sequence[float] = SHARES,
) -> dict[str, Promotion]:
    """Several behaviours, each (unsteered, steered), the most steered one first.

    That is the one whose change is largest, of matching minus that of other ones.

    Raises:
        BadData: as ``promotion``, with the name of the behaviour.
    """
    promotions = {}
    for name, (unsteered, steered) in cells.items():
        try:
            promotions[name] = promotion(unsteered, steered, shares)
        except BadData as error:
            raise BadData(f"{name}: {error}") from error
    return dict(sorted(promotions.items(), key=lambda entry: -_gain(entry[1])))


def _gain(change: Promotion) -> float:
    return change.change("matching").value - change.change("other").value


def _check(
    unsteered: Sequence[Score], steered: Sequence[Score], shares: Sequence[float]
) -> None:
    if odd := [share for share in shares if not 0 < share < 1]:
        raise BadOption(
            f"a share of the continuations must lie between 0 and 1, not {odd[0]}; all of "
            "them are there without asking"
        )
    if [score.item for score in unsteered] != [score.item for score in steered]:
        raise BadData(
            "a change needs the same items in the same order, unsteered and steered; keep "
            "those that both have"
        )
    for score in (*unsteered, *steered):
        if missing := {"matching", "other"} - set(score.metrics):
            raise BadData(
                f"item {score.item} has no metric {', '.join(sorted(missing))}; give "
                "scores of the task open"
            )
    if not unsteered:
        raise BadData("there are no items to compare; check the split")


def _reference(scores: Sequence[Score]) -> float:
    """Halfway between the likeliest other and the least likely matching continuation."""
    likeliest_other = max(score.metrics["other"] for score in scores)
    return (likeliest_other + min(score.metrics["matching"] for score in scores)) / 2


def _level(scores: Sequence[Score], side: Side, reference: float) -> Estimate:
    return cluster_mean(
        [score.metrics[side] - reference for score in scores],
        [score.group for score in scores],
    )


def _cut(
    unsteered: Sequence[Score], steered: Sequence[Score], side: Side, end: End, share: float
) -> PromotionCut:
    # Equal values are told apart by their item, so that the order given does not matter.
    order = sorted(
        range(len(unsteered)),
        key=lambda k: (unsteered[k].metrics[side], unsteered[k].item),
        reverse=end == "highest",
    )
    # The tolerance keeps .1 * 30, which is more than 3 in floating point, at 3.
    picked = order[: ceil(share * len(order) - 1e-9)]
    change = cluster_difference(
        [steered[k].metrics[side] for k in picked],
        [unsteered[k].metrics[side] for k in picked],
        [unsteered[k].group for k in picked],
    )
    return PromotionCut(side, end, share, change)
