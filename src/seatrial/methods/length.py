"""The length control: the unsteered model, with a constant for every token.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from seatrial.errors import BadData, BadOption
from seatrial.methods.base import Method, origin_of
from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.steering.readout import Offset
from seatrial.types import Answer, FitData, Request


@final
@dataclass(frozen=True)
class Length(Method):
    """Give every token the constant by which a readout moves the mean token.

        c = (sum of the readout's scores - sum of the model's own) / number of tokens

    over all answers of the requests (of the pairs, where there are none). Scores that are
    no log-probabilities, as those released with DoLa (trap T14), are larger for long
    answers whatever the words are; this control is as large, and knows no words.
    """

    name: ClassVar[str] = "length"
    summary: ClassVar[str] = "control: a constant for every token, as a readout's mean"
    is_control: ClassVar[bool] = True
    changes: ClassVar[Literal["activations", "prompt", "readout"]] = "readout"

    reference: Method
    """The readout that it controls."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        if self.reference.changes != "readout":
            raise BadOption(
                f"'length' controls methods that change the readout, and "
                f"{self.reference.name!r} changes the {self.reference.changes}; use "
                "'random' or 'shuffled' to control it"
            )
        requests = data.requests or _requests(data)
        if not requests:
            raise BadData(
                f"'length' compares scores of answers, and {data.concept!r} has none; give "
                "requests, or pairs"
            )
        fitted = self.reference.fit(model, data, seed=seed)
        plain, steered = model.log_probs(requests, [UNSTEERED, Steering(fitted, 1.0)])
        constant = matching_constant(steered, plain)
        origin = origin_of(self, model, data, seed, {"constant": constant})
        return Intervention(readout=Offset(constant), origin=origin)


def matching_constant(steered: Sequence[Answer], plain: Sequence[Answer]) -> float:
    """The constant for a token that gives the plain answers the same mean score."""
    shift = sum(sum(answer.sums) for answer in steered)
    shift -= sum(sum(answer.sums) for answer in plain)
    return shift / sum(len(tokens) for answer in plain for tokens in answer.log_probs)


def _requests(data: FitData) -> tuple[Request, ...]:
    """The texts of pairs as answers."""
    return tuple(
        Request(f"{pair.id}/{side}", pair.group, text.prompt, (text.completion,))
        for pair in data.pairs
        for side, text in (("positive", pair.positive), ("negative", pair.negative))
        if text.completion
    )
