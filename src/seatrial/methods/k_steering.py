"""K-steering: up the gradient of a small classifier, at each token on its own.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData, BadOption, unknown
from seatrial.methods.base import (
    Layer,
    Method,
    check_fits,
    later,
    origin_of,
    other_data,
)
from seatrial.methods.fitting.classifier import Labels, StateClassifier, States, trained
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import difference, unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.intervention import Intervention
from seatrial.types import DataOf, FitData, texts_of

SIDES = ("positive", "negative")
"""The classes that every concept has: the sides of its pairs."""


@final
@dataclass(frozen=True)
class KSteering(Method):
    """Climb the logits of wanted classes, and down those of avoided ones.

        f: d_model -> hidden -> hidden -> K logits, ReLU between, trained on the fit states
        h <- h + dose * size * grad_h [mean of f_target(h) - mean of f_avoid(h)]

    The classes are the positive and the negative texts of the pairs, and the positive ones
    of each concept in `others`. Their negative texts belong to no class (but to the one
    they stand in, word for word), so that a class is told from the other side of its own
    prompts and not by what these are about.

    The step depends on the token, so what is already there can be pushed less or otherwise.
    What is climbed is the difference: of several classes each need not rise, or fall, at
    every state by itself.

    At a dose of 1 the mean step on the fit states is as long as the mean state of the
    target classes is away from that of the avoided ones, or of all other texts where none
    is. Departures from the released code: its hook averages logits over all tokens of a
    call, so that a step is as small as the call is long (trap T26), and ours does not; the
    last layer starts at zero, so that swapped pairs give the opposite; its single epoch
    suits thousands of texts, not the hundred of a fit split; and there is weight decay,
    without which Adam makes all coordinates of a gradient about equally large (cosine 0.8
    to a planted direction, with it above 0.99).
    """

    name: ClassVar[str] = "k-steering"
    summary: ClassVar[str] = "climb the gradient of a small nonlinear classifier"
    paper: ClassVar[str] = "https://arxiv.org/abs/2505.24535"

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    steps: int = 1
    """How many steps, each along the gradient where the one before has led."""
    decay: float = 1.0
    """Size of each step in units of the one before; together they are as long as one."""
    hidden: int = 128
    """Width of both hidden layers."""
    epochs: int = 100
    """How often each pair is learnt from."""
    rate: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 0.01
    """Of Adam."""
    batch: int = 64
    """Texts in one update, half of them of each side."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "all"
    """Which tokens are edited: all, from_last_prompt, generated, last, prompt, or
    first_K."""
    others: tuple[str, ...] = later(())
    """Concepts that give a class more each: built-in, published, or your own. Of their
    fit split, as many items are read as there are pairs."""
    others_task: str = later("open")
    """Which target task's pairs of those are read."""
    target: tuple[str, ...] = later(("positive",))
    """Classes that are climbed to: positive, negative, or names of others."""
    avoid: tuple[str, ...] = later(("negative",))
    """Classes that are left; empty: none."""

    @property
    def is_odd(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether swapped sides are swapped aims."""
        swapped = {"positive": "negative", "negative": "positive"}
        return {swapped.get(name, name) for name in self.target} == set(self.avoid)

    @property
    def reads_labels(self) -> bool:
        """Unless it neither climbs to a side of the pairs nor leaves one."""
        return bool({*self.target, *self.avoid} & {*SIDES})

    def references(self, data: FitData) -> Mapping[str, DataOf]:
        """The other classes, of as many items as there are pairs."""
        limit = max(2, len(data.pairs))
        return {
            concept: DataOf(concept, self.others_task, limit, is_apart=False)
            for concept in self.others
        }

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        self._check()
        site = model.site(self.layer)
        others = self.other_classes(data)
        target, avoid = self._aims([*SIDES, *(other.concept for other in others)])
        sides = [contrast(model, each.pairs, site, self.read) for each in (data, *others)]
        for each in sides:
            unit(difference(*each), site)  # refuses texts that do not differ
        states = torch.cat([torch.stack(each, dim=1) for each in sides]).double()
        labels = class_labels(data, others)
        climb = self.classifier(states, labels, seed).climb(target, avoid)
        slope = climb.gradient(states).norm(dim=-1).mean()
        if not 0 < float(slope) < inf:
            raise BadData(
                f"the classifier at site {site} has learnt nothing (its gradient is "
                f"{float(slope)}); lower weight_decay or rate, or raise epochs"
            )
        size = _apart(states, labels, target, avoid) / slope
        share = self.decay ** torch.arange(self.steps, dtype=torch.float64)
        climb = replace(climb, steps=(size * share / share.sum()).float())
        facts = {"others_data": [other.fingerprint for other in others]} if others else {}
        return Intervention(
            {site: climb}, self.tokens, origin=origin_of(self, model, data, seed, facts)
        )

    def _check(self) -> None:
        for option in ("steps", "decay", "hidden", "epochs", "rate"):
            if getattr(self, option) <= 0:
                raise BadOption(f"{option} must be above 0, not {getattr(self, option)}")
        if self.weight_decay < 0:
            raise BadOption(f"weight_decay must not be negative: {self.weight_decay}")
        if self.batch < 2:
            raise BadOption(f"batch must be at least 2, one text a side, not {self.batch}")

    def other_classes(self, data: FitData) -> list[FitData]:
        """The data of every other concept.

        Raises:
            BadOption: for the concept itself, or one named twice.
            BadData: if they have not been filled in.
        """
        others = [other_data(self, data, concept) for concept in self.others]
        names = [*SIDES, data.concept, *(other.concept for other in others)]
        if others and len(set(names)) < len(names):
            raise BadOption(
                f"others must name concepts beside {data.concept!r}, each once, not "
                f"{', '.join(names[3:])}; its own sides are classes already"
            )
        return others

    def _aims(self, classes: Sequence[str]) -> tuple[list[int], list[int]]:
        """Which classes are climbed to and which are left, by number."""
        for name in (*self.target, *self.avoid):
            if name not in classes:
                raise unknown("class", name, classes)
        if not self.target or set(self.target) & set(self.avoid):
            raise BadOption(
                "target must name at least one class, and none that avoid names, not "
                f"{list(self.target)} and {list(self.avoid)}"
            )
        target, avoid = (
            [classes.index(name) for name in dict.fromkeys(names)]
            for names in (self.target, self.avoid)
        )
        return target, avoid

    def classifier(self, states: States, labels: Labels, seed: int) -> StateClassifier:
        """A network trained to tell the classes of some states."""
        return trained(
            states,
            labels,
            hidden=self.hidden,
            epochs=self.epochs,
            # A pair is two texts.
            batch=self.batch // 2,
            rate=self.rate,
            weight_decay=self.weight_decay,
            seed=seed,
        )


def class_labels(data: FitData, others: Sequence[FitData]) -> Labels:
    """The classes of every text: of the pairs first, then of the other concepts' pairs.

    The first two are the sides of the pairs, then comes one for each other concept.
    """
    classes = [
        set(texts_of(data.pairs, "positive")),
        set(texts_of(data.pairs, "negative")),
        *(set(texts_of(other.pairs, "positive")) for other in others),
    ]
    sides = [
        (pair.positive, pair.negative) for each in (data, *others) for pair in each.pairs
    ]
    labels = torch.tensor(
        [[[text in texts for texts in classes] for text in both] for both in sides]
    ).double()
    # Of its own pairs a text has the side on which it stands, whatever another pair says.
    labels[: len(data.pairs), :, :2] = torch.eye(2).double()
    return labels


def _apart(
    states: States, labels: Labels, target: Sequence[int], avoid: Sequence[int]
) -> Float[Tensor, ""]:
    """How far the mean target state is from the mean one that is left.

    Raises:
        BadData: if there is none that is left.
    """
    in_target = labels[..., list(target)].any(-1)
    in_avoid = labels[..., list(avoid)].any(-1) if avoid else torch.ones_like(in_target)
    if not (in_avoid & ~in_target).any():
        raise BadData(
            "every text that k-steering should leave is one of the target's too, so there "
            "is no way from one to the other; give another target or avoid"
        )
    return difference(states[in_target], states[in_avoid & ~in_target]).norm()
