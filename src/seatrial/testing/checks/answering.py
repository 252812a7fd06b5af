"""Promises about steering: dose 0, dose 1, other models, batches, and generated text."""

import torch

from seatrial.methods import Method
from seatrial.model import MemoryBudget, Model
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.testing.checks.asking import (
    NOISE,
    answers_under,
    are_finite,
    distance,
    full_dose,
    questions,
    steerings,
)
from seatrial.testing.checks.comparing import at_work, bits, copied, twin
from seatrial.testing.naive import naive_acting, naive_greedy
from seatrial.types import FitData

NEW_TOKENS = 6
"""How many tokens are generated to compare."""


def dose_zero_is_the_unsteered_model(method: Method, model: Model, data: FitData) -> None:
    """Dose 0 is the unsteered model bit for bit, alone and beside steered rows."""
    fitted = method.fit(model, data, seed=0)
    requests = questions(data, fitted)
    zero = Steering(fitted, 0.0)

    plain = model.log_probs(requests)[0]
    *_, beside = answers_under(model, requests, [*steerings(method, fitted), zero])
    alone = answers_under(model, requests, [zero])[0]
    assert beside == alone == plain, f"dose 0 of {method.name!r} changes answers"
    prompts = [request.prompt for request in requests]
    texts = model.generate(prompts, [UNSTEERED, zero], max_tokens=NEW_TOKENS)
    assert texts[0] == texts[1], f"dose 0 of {method.name!r} changes generated text"

    # The engine does not even run edits at dose 0, so they are asked themselves as well.
    for site, h, edit in at_work(model, fitted, data):
        for dose in (0.0, torch.zeros(len(h), device=h.device)):
            assert bits(edit(h, dose)) == bits(h), (
                f"the edit at site {site} changes h at dose 0"
            )
        full = torch.zeros(len(h), device=h.device)
        full[::2] = full_dose(method)
        assert bits(edit(h, full)[1::2]) == bits(h[1::2]), (
            f"the edit at site {site} changes positions of dose 0 beside steered ones"
        )


def dose_one_changes_something(method: Method, model: Model, data: FitData) -> None:
    """A full dose moves at least one score, and every score stays finite."""
    fitted = method.fit(model, data, seed=0)
    requests = questions(data, fitted)

    plain = model.log_probs(requests)[0]
    steered = answers_under(model, requests, [Steering(fitted, full_dose(method))])[0]

    assert are_finite(steered), (
        f"dose {full_dose(method):g} of {method.name!r} gives scores that are not finite"
    )
    assert steered != plain, (
        f"dose {full_dose(method):g} of {method.name!r} changes no score at all"
    )


def steering_one_model_leaves_another_alone(
    method: Method, model: Model, data: FitData
) -> None:
    """Steering one model changes no answer of another, and no unsteered one of its own."""
    requests = questions(data)
    other = copied(model)
    before, own = other.log_probs(requests), model.log_probs(requests)

    fitted = method.fit(model, data, seed=0)
    steered, under = questions(data, fitted), steerings(method, fitted)
    answers_under(model, steered, under)
    model.generate([request.prompt for request in steered], under, max_tokens=2)

    assert other.log_probs(requests) == before, (
        f"{method.name!r} on one model changed another one"
    )
    assert model.log_probs(requests) == own, (
        f"{method.name!r} stayed behind in the unsteered model"
    )


def batching_and_padding_change_nothing(
    method: Method, model: Model, data: FitData
) -> None:
    """Fitted and asked one by one or all together, scores agree within 1e-4 nats."""
    narrow = twin(model, MemoryBudget(tokens=1))  # one sequence a forward call

    fitted = method.fit(model, data, seed=0)
    requests, under = questions(data, fitted), steerings(method, fitted)
    together = answers_under(model, requests, under)
    refitted = answers_under(
        model, requests, steerings(method, method.fit(narrow, data, seed=0))
    )
    alone = [
        [answers_under(narrow, [request], [steering])[0][0] for request in requests]
        for steering in under
    ]

    worst = max(map(distance, together, alone))
    assert worst <= NOISE, (
        f"under {method.name!r} a score alone and in its batch differ by {worst:.2g} nats"
    )
    read = max(map(distance, together, refitted))
    assert read <= NOISE, (
        f"{method.name!r} fitted one by one and in batches differs by {read:.2g} nats"
    )


def cached_generation_equals_recomputation(
    method: Method, model: Model, data: FitData
) -> None:
    """Text from batches with a cache is that of running everything for every token."""
    fitted = method.fit(model, data, seed=0)
    prompts = [request.prompt for request in questions(data, fitted)]
    under = steerings(method, fitted)

    texts = model.generate(prompts, under, max_tokens=NEW_TOKENS)

    for steering, line in zip(under, texts, strict=True):
        for prompt, text in zip(prompts, line, strict=True):
            acting = naive_acting(model, prompt, steering)
            edit = acting.intervention.prompt_edit
            edited = edit(prompt, acting.dose) if edit else prompt
            slow = naive_greedy(
                model, model.encoder.prompt_ids(edited), acting, len(text.token_ids)
            )
            assert list(text.token_ids) == slow, (
                f"under {method.name!r} at dose {steering.dose:g} cached generation gives "
                f"{text.token_ids} after {prompt!r}, recomputation gives {tuple(slow)}"
            )
