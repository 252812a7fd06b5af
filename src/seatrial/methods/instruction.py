"""Asking for the behaviour in words: the baseline that steering must be worth more than."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

from seatrial.methods.base import Method, Need, check_fits, lacking, later, origin_of
from seatrial.model import Model
from seatrial.steering.intervention import Intervention, PromptEdit
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Instruction(Method):
    """Put an instruction for the behaviour (dose 1) or against it (-1) before the prompt.

    In a conversation it is the system message; before plain text it is a paragraph of its
    own. The origin records how many tokens each is long.
    """

    name: ClassVar[str] = "instruction"
    summary: ClassVar[str] = (
        "baseline: a system prompt that asks for the behaviour or its opposite"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2501.17148"
    doses: ClassVar[tuple[float, ...] | None] = (-1.0, 0.0, 1.0)
    changes: ClassVar[Literal["activations", "prompt", "readout"]] = "prompt"
    needs: ClassVar[tuple[Need, ...]] = ("instructions",)

    encourage: str = later("")
    """A sentence of yours that asks for the behaviour; empty is that of the concept."""
    discourage: str = later("")
    """One that asks for its opposite; empty is that of the concept."""

    @property
    def reads_labels(self) -> bool:
        """Never: what it reads are instructions, not pairs."""
        return False

    def misfit(self, data: FitData) -> str | None:
        """Unless each side has a sentence: of one's own, or of the concept."""
        sides = (self.encourage, data.encourage), (self.discourage, data.discourage)
        if all(own.strip() or of_concept.strip() for own, of_concept in sides):
            return None
        return lacking(self.name, self.needs, data)

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        encourage, discourage = (
            own if own.strip() else of_concept
            for own, of_concept in (
                (self.encourage, data.encourage),
                (self.discourage, data.discourage),
            )
        )
        counts = {
            f"{side}_tokens": model.count(sentence)
            for side, sentence in (("encourage", encourage), ("discourage", discourage))
        }
        origin = origin_of(self, model, data, seed)
        origin = replace(origin, options={**origin.options, **counts})
        return Intervention(prompt_edit=PromptEdit(encourage, discourage), origin=origin)
