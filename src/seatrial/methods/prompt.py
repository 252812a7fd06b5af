"""Asking for the behaviour in words: the baseline that steering must be worth more than."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from seatrial.errors import BadData
from seatrial.intervention import Intervention, PromptEdit
from seatrial.methods.base import Method, origin_of
from seatrial.model import Model
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Prompt(Method):
    """Put an instruction for the behaviour (dose 1) or against it (-1) before the prompt.

    In a conversation it is the system message; before plain text it is a paragraph of its
    own.
    """

    name: ClassVar[str] = "prompt"
    summary: ClassVar[str] = (
        "baseline: a system prompt that asks for the behaviour or its opposite"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2501.17148"
    doses: ClassVar[tuple[float, ...] | None] = (-1.0, 0.0, 1.0)
    changes: ClassVar[Literal["activations", "prompt", "readout"]] = "prompt"

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        if not data.encourage.strip() or not data.discourage.strip():
            raise BadData(
                f"concept {data.concept!r} has no instruction for and against the "
                "behaviour; add "
                'a line {"concept": {"encourage": ..., "discourage": ...}} to its file'
            )
        edit = PromptEdit(data.encourage, data.discourage)
        return Intervention(prompt=edit, origin=origin_of(self, model, data, seed))
