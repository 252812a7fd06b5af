"""What checks ask a model about: questions, doses, and how far answers are apart."""

import math
from collections.abc import Sequence
from dataclasses import replace

from seatrial.data.templates import TEMPLATES
from seatrial.errors import SeatrialError
from seatrial.methods import Method
from seatrial.model import Model
from seatrial.steering.intervention import Intervention, Steering
from seatrial.types import Answer, FitData, Message, Prompt, Request

NOISE = 1e-4
"""Largest difference in log-probability, in nats, that the order of sums may make."""


def questions(data: FitData, fitted: Intervention | None = None) -> list[Request]:
    """Questions like the data and others; answers are long enough for every token scope.

    Prompts are long enough for what is fitted, and some show the behaviour, so that a
    gate on it opens for them.
    """
    requests = []
    for pair in data.pairs[:2]:
        answers = [
            f"{text.completion or ' yes'} and so on"
            for text in (pair.positive, pair.negative)
        ]
        requests.append(
            Request(
                pair.id, pair.group, pair.positive.prompt, tuple(dict.fromkeys(answers))
            )
        )
    for example in data.examples[:1]:
        prompt = TEMPLATES["qa"].prompt((), example.input)
        answers = (f" {example.output} and so on", " anything else")
        requests.append(Request("query", "query", prompt, answers))
    talk = (Message("user", "How is the sea today?"),)
    requests += [
        Request("short", "short", "So", (" it goes", " be it then, and on it went")),
        Request("talk", "talk", talk, ("It is calm.", "It is rough and grey.")),
    ]
    if fitted is None:
        return requests
    for pair in data.pairs if fitted.gate else ():
        prompt, completion = pair.positive
        if isinstance(prompt, str):
            shown = f"{prompt}{completion}"
            requests.append(Request(f"{pair.id}+", pair.group, shown, (" and so it was",)))
    places = [p.tokens for p in fitted.parts if p.tokens.startswith("at_")]
    room = max((int(place.removeprefix("at_")) + 1 for place in places), default=0)
    return [replace(one, prompt=_longer(one.prompt, room)) for one in requests]


def _longer(prompt: Prompt, tokens: int) -> Prompt:
    """The prompt after so many words, each of which is a token at least."""
    words = "so " * tokens
    if isinstance(prompt, str):
        return words + prompt
    first, *others = prompt
    return (first._replace(content=words + first.content), *others)


def full_dose(method: Method) -> float:
    """Dose 1, or the strongest that the method has."""
    if method.doses is None or 1.0 in method.doses:
        return 1.0
    return max(method.doses, key=abs)


def full_doses(method: Method) -> tuple[float, ...]:
    """The full dose and, if the method has it, its opposite."""
    full = full_dose(method)
    return (full, -full) if method.doses is None or -full in method.doses else (full,)


def steerings(method: Method, fitted: Intervention) -> list[Steering]:
    """What was fitted at the full dose and, if the method has it, at its opposite."""
    return [Steering(fitted, dose) for dose in full_doses(method)]


def answers_under(
    model: Model, requests: Sequence[Request], under: Sequence[Steering]
) -> list[list[Answer]]:
    """The model's answers; a refusal to answer under the steerings is a broken promise."""
    try:
        return model.log_probs(requests, under)
    except SeatrialError as error:
        raise AssertionError(
            f"the model cannot be asked under what was fitted: {error}"
        ) from error


def distance(one: Sequence[Answer], other: Sequence[Answer]) -> float:
    """The largest difference between two lines of answers, in nats per token."""
    return max(
        abs(a - b)
        for x, y in zip(one, other, strict=True)
        for tokens, others in zip(x.log_probs, y.log_probs, strict=True)
        for a, b in zip(tokens, others, strict=True)
    )


def are_finite(line: Sequence[Answer]) -> bool:
    """Whether every score is a number that can be compared."""
    return all(math.isfinite(score) for answer in line for score in answer.sums)
