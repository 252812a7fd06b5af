"""Promises about fitting: what is read, what is left alone, and what is kept on disk."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from seatrial.data.templates import TEMPLATES
from seatrial.errors import SeatrialError
from seatrial.methods import Method
from seatrial.model import Model
from seatrial.steering.intervention import Steering
from seatrial.steering.saving import load, save
from seatrial.testing.checks.asking import (
    NOISE,
    answers_under,
    are_finite,
    distance,
    full_dose,
    full_doses,
    questions,
    steerings,
)
from seatrial.testing.checks.comparing import (
    at_work,
    check_unchanged,
    contents,
    copied,
    global_seed,
    origin_text,
    state_of,
    twin,
)
from seatrial.types import Example, FitData, Pair, Prompt


def fit_leaves_the_model_alone(method: Method, model: Model, data: FitData) -> None:
    """Fitting and answering leave weights, hooks and every ``forward`` as they were."""
    network = model.engine.network
    before = state_of(network)

    fitted = method.fit(model, data, seed=0)

    check_unchanged(before, state_of(network), "fitting")
    answers_under(model, questions(data, fitted), steerings(method, fitted))
    check_unchanged(before, state_of(network), "answering under the fitted steering")


def same_seed_same_result(method: Method, model: Model, data: FitData) -> None:
    """Two fits with one seed agree bit for bit, whatever global generators did before."""
    results = []
    for disturbance in (1, 2):
        with global_seed(disturbance):
            # Twins, so that nothing remembered about the model hides a second reading.
            results.append(method.fit(twin(model), data, seed=0))
    first, second = results

    assert contents(first) == contents(second), (
        f"two fits of {method.name!r} with seed 0 differ; "
        "draw from a generator made from the seed"
    )
    requests = questions(data, first)
    one = answers_under(model, requests, steerings(method, first))
    other = answers_under(model, requests, steerings(method, second))
    assert one == other, f"two fits of {method.name!r} with seed 0 give different answers"


def saving_and_loading_is_exact(method: Method, model: Model, data: FitData) -> None:
    """Once saved and loaded, answers and origin are the same, bit for bit."""
    fitted = method.fit(model, data, seed=0)

    with TemporaryDirectory() as folder:
        path = Path(folder) / "fitted.safetensors"
        try:
            save(fitted, path)
            loaded = load(path)
        except SeatrialError as error:
            raise AssertionError(
                f"what {method.name!r} fits cannot be saved and loaded: {error}"
            ) from error

    assert contents(loaded) == contents(fitted), (
        f"what {method.name!r} fits is not the same once loaded"
    )
    assert origin_text(loaded) == origin_text(fitted), (
        f"what {method.name!r} fits loses its origin when saved"
    )
    requests = questions(data, fitted)
    before = answers_under(model, requests, steerings(method, fitted))
    after = answers_under(model, requests, steerings(method, loaded))
    assert after == before, (
        f"what {method.name!r} fits gives other answers once saved and loaded"
    )


def half_precision_works(method: Method, model: Model, data: FitData) -> None:
    """On a bfloat16 model fits succeed, scores are finite, and edits keep the dtype."""
    half = copied(model, torch.bfloat16)

    try:
        fitted = method.fit(half, data, seed=0)
    except RuntimeError as error:
        raise AssertionError(
            f"{method.name!r} cannot be fitted on a bfloat16 model: {error}"
        ) from error

    for site, h, edit in at_work(half, fitted, data):
        dtype = edit(h, full_dose(method)).dtype
        assert dtype == h.dtype, f"the edit at site {site} turns {h.dtype} into {dtype}"
    requests = questions(data, fitted)
    *steered, zero = answers_under(
        half, requests, [*steerings(method, fitted), Steering(fitted, 0.0)]
    )
    assert all(map(are_finite, steered)), (
        f"{method.name!r} gives scores that are not finite in bfloat16"
    )
    assert zero == half.log_probs(requests)[0], (
        f"dose 0 of {method.name!r} changes answers in bfloat16"
    )


def only_the_given_pairs_are_read(method: Method, model: Model, data: FitData) -> None:
    """While fitting, the model reads only texts of the data, or built around them."""
    watched = twin(model)
    encoder = watched.encoder
    prompt_ids, encode = encoder.prompt_ids, encoder.encode
    read: list[str] = []

    def watched_prompt(prompt: Prompt) -> tuple[int, ...]:
        read.extend(_words(prompt))
        return prompt_ids(prompt)

    def watched_encode(prompt: Prompt, answers: tuple[str, ...]) -> Any:
        read.extend([*_words(prompt), *answers])
        return encode(prompt, answers)

    vars(encoder).update(prompt_ids=watched_prompt, encode=watched_encode)
    method.fit(watched, data, seed=0)

    everything = [data, *data.others.values()]
    given = {text.strip() for each in everything for text in _given(each)}
    # Templates and demonstrations are built around texts; short ones are in anything.
    cores = [text for text in given if len(text.split()) >= 3]
    forms = [
        form for each in everything if each.examples for form in _in_context(each.examples)
    ]
    for text in dict.fromkeys(read):
        is_given = text.strip() in given or any(core in text for core in cores)
        assert is_given or any(form.fullmatch(text) for form in forms), (
            f"while {method.name!r} was fitted, the model read {text!r}, "
            "which is not in the data"
        )


def swapped_pairs_flip_the_sign(method: Method, model: Model, data: FitData) -> None:
    """An odd method fitted on swapped pairs does at dose -1 what it did at dose 1."""
    if not method.is_odd:
        return
    swapped = replace(
        data,
        pairs=tuple(map(_swapped, data.pairs)),
        encourage=data.discourage,
        discourage=data.encourage,
    )
    straight = method.fit(model, data, seed=0)
    mirrored = method.fit(model, swapped, seed=0)
    requests = questions(data, straight)

    for dose in full_doses(method):
        one, other = answers_under(
            model, requests, [Steering(straight, dose), Steering(mirrored, -dose)]
        )
        gap = distance(one, other)
        assert gap <= NOISE, (
            f"{method.name!r} says it is odd, but after swapping all pairs dose {-dose:+g} "
            f"differs from dose {dose:+g} before by {gap:.2g} nats"
        )


def _given(data: FitData) -> set[str]:
    """Every text of the data of one concept or map."""
    sides = [text for pair in data.pairs for text in (pair.positive, pair.negative)]
    given = {data.encourage, data.discourage, *(text.completion for text in sides)}
    given |= {words for example in data.examples for words in example}
    return given | {words for text in sides for words in _words(text.prompt)}


def _swapped(pair: Pair) -> Pair:
    return replace(pair, positive=pair.negative, negative=pair.positive)


def _in_context(examples: Sequence[Example]) -> list[re.Pattern[str]]:
    """What prompts look like that hold nothing but examples, by template."""
    sides = [
        sorted({re.escape(text) for text in side}) for side in zip(*examples, strict=True)
    ]
    x, y = (f"(?:{'|'.join(side)})" for side in sides)

    def filled(form: str) -> str:
        return re.escape(form).replace(r"\{x\}", x).replace(r"\{y\}", y)

    return [
        re.compile(f"(?:{filled(template.demonstration)})*{filled(template.query)}")
        for template in TEMPLATES.values()
    ]


def _words(prompt: Prompt) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [message.content for message in prompt]
