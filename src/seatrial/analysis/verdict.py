"""From estimates to a judgement: one label, and the reasons in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, final

from seatrial.stats import DoseResponse, beats
from seatrial.store.labels import Budget
from seatrial.types import Estimate

Label = Literal[
    "works",
    "works at a price",
    "unreliable",
    "no better than a control",
    "no effect",
    "reverses",
    "not judged",
]

LABELS: dict[Label, str] = {
    "works": "moves the behaviour, beyond every control, for most items, within the budget",
    "works at a price": "moves the behaviour beyond every control, but damages other text "
    "more than the budget allows, or cannot be shown not to, or does worse than every "
    "control on another guard",
    "unreliable": "moves the behaviour beyond every control on average, but too many items "
    "move the wrong way",
    "no better than a control": "moves the behaviour, but a random or shuffled vector may "
    "do as much",
    "no effect": "no movement that can be told from none",
    "reverses": "moves the behaviour the wrong way, beyond every control",
    "not judged": "measured, but without the controls that it would have to beat: nothing "
    "can be said to work",
}


@final
@dataclass(frozen=True)
class Price:
    """What a steering costs on neutral prose at one dose, against the unsteered model."""

    dose: float
    perplexity_ratio: Estimate
    """1 means no damage."""
    kl: Estimate
    """Mean KL(steered || unsteered) per token, in nats."""


@final
@dataclass(frozen=True)
class Damage:
    """How much worse another guard than prose does at one dose."""

    dose: float
    change: Estimate
    """Of the guard's metric from the unsteered model; more than 0 is damage."""
    band: Estimate | None
    """What the controls do at this dose; None where they were not measured."""

    @property
    def is_clear(self) -> bool:
        """Whether it is there at all, and more than what any control does."""
        if self.band is None:
            return False
        return self.change.low > 0 and beats(self.change, self.band)


@final
@dataclass(frozen=True)
class Verdict:
    """A label with its reasons; nothing works unless it beats the control band."""

    label: Label
    reasons: tuple[str, ...]

    def _repr_html_(self) -> str:
        """For a notebook; every text as text."""
        reasons = "".join(f"<li>{escape(reason[:300])}</li>" for reason in self.reasons)
        return f"<b>{escape(self.label)}</b><ul>{reasons}</ul>"


def judge(
    response: DoseResponse,
    band: Estimate | None,
    prices: Sequence[Price],
    budget: Budget,
    unit: str,
    damages: Mapping[str, Sequence[Damage]] | None = None,
    *,
    doses: Sequence[float] = (1.0, -1.0),
    missing: str = "",
) -> Verdict:
    """Judge one method on one task.

    Args:
        response: the dose-response of the method.
        band: the control band of the mean slope; None where there are no controls.
        prices: at every dose that was measured.
        budget: what is acceptable.
        unit: of the metric, for the reasons.
        damages: of the other guards at every dose that was measured, by the name of the
            guard with the unit of its metric.
        doses: those whose price and damage count: the chosen one and its negative, where
            the method has it.
        missing: which controls are missing, in words, so that nothing can be said to work.
    """
    slope = response.steerability
    moved = f"mean slope {slope} {unit} per dose"
    if missing or band is None:
        _, price = _price(prices, budget, doses)
        why = missing or "there are no controls that it would have to beat"
        return Verdict("not judged", (moved, why, price))
    controls = f"control band {band.ends}"
    if not slope.excludes(0.0):
        return Verdict("no effect", (f"{moved}: the interval holds 0",))
    if slope.high < 0:
        if beats(_mirrored(slope), _mirrored(band)):
            return Verdict("reverses", (f"{moved}, below the {controls}",))
        return Verdict("no better than a control", (f"{moved}, inside the {controls}",))
    if not beats(slope, band):
        return Verdict("no better than a control", (f"{moved}, not above the {controls}",))
    share = (
        f"{_percent(response.anti_steerable)} of the items move the wrong way or not at all"
    )
    reasons = [f"{moved}, above the {controls}"]
    if not response.anti_steerable.value <= budget.anti_steerable:
        reasons.append(f"{share}, more than {budget.anti_steerable:.0%}")
        return Verdict("unreliable", tuple(reasons))
    reasons.append(share)
    if not response.monotone:
        reasons.append(
            "the mean curve both rises and falls: look at it before choosing a dose"
        )
    label, price = _price(prices, budget, doses)
    damage = _damaged(damages or {}, doses)
    return Verdict("works at a price" if damage else label, (*reasons, price, *damage))


def _price(
    prices: Sequence[Price], budget: Budget, doses: Sequence[float]
) -> tuple[Label, str]:
    used = [price for price in prices if price.dose in doses]
    if unknown := {*doses} - {price.dose for price in used}:
        at = " and ".join(f"{dose:+g}" for dose in sorted(unknown))
        return (
            "works at a price",
            f"neutral prose was not measured at dose {at}: its price is unknown",
        )
    worst = max(used, key=lambda price: price.perplexity_ratio.high)
    text = f"perplexity x {worst.perplexity_ratio} at dose {worst.dose:+g}"
    most = budget.perplexity_ratio
    limit = f"the budget of {most:g}"
    if worst.perplexity_ratio.low > most:
        return "works at a price", f"{text}, above {limit}"
    # Asked this way round, a price that is no number is not within any budget.
    if not all(price.perplexity_ratio.high <= most for price in used):
        return "works at a price", f"{text}: not shown to be within {limit}"
    return "works", f"{text}, within {limit}"


def _damaged(damages: Mapping[str, Sequence[Damage]], doses: Sequence[float]) -> list[str]:
    """For each guard with clear damage at those doses, the worst of it in words."""
    reasons = []
    for guard, measured in damages.items():
        clear = [each for each in damages_judged(measured, doses) if each.is_clear]
        if clear:
            worst = max(clear, key=lambda damage: damage.change.value)
            band = worst.band.ends if worst.band else ""
            reasons.append(
                f"{guard} gets worse by {worst.change} at dose {worst.dose:+g}, above the "
                f"control band {band}"
            )
    return reasons


def damages_judged(damages: Sequence[Damage], doses: Sequence[float]) -> list[Damage]:
    """The damages that a verdict looks at.

    At those doses, or, where controls were measured at none of them, at 1 and -1, where
    controls meet guards.
    """
    at = [damage for damage in damages if damage.dose in doses]
    if any(damage.band for damage in at):
        return at
    return [damage for damage in damages if abs(damage.dose) == 1 and damage.band] or at


def _mirrored(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, -estimate.high, -estimate.low, estimate.n)


def _percent(share: Estimate) -> str:
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]"
