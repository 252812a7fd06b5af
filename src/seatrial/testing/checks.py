"""The promises that every method keeps, as functions for anybody's method.

::

    for name, check in CHECKS.items():
        check(method, model, data)

Each raises ``AssertionError`` with a sentence on what was broken. They fit the method some
twenty times and copy the model's weights, so give them a small model, in float32 because
answers are compared to 1e-4 nats, and a handful of short pairs (``tiny_model`` and your own
texts will do).
"""

import copy
import hashlib
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seatrial.errors import SeatrialError
from seatrial.in_context import TEMPLATES
from seatrial.intervention import UNSTEERED, Intervention, Steering
from seatrial.methods import Method
from seatrial.model import Budget, Model
from seatrial.testing.naive import naive_acting, naive_greedy
from seatrial.types import Answer, Example, FitData, Message, Pair, Prompt, Request, Text

Check = Callable[[Method, Model, FitData], None]

NOISE = 1e-4
"""Largest difference in log-probability, in nats, that the order of sums may make."""

NEW_TOKENS = 6
"""How many tokens are generated to compare."""


def fit_leaves_the_model_alone(method: Method, model: Model, data: FitData) -> None:
    """Fitting and answering leave weights, hooks and every ``forward`` as they were."""
    network = model.engine.network
    before = _state(network)

    fitted = method.fit(model, data, seed=0)

    _compare_states(before, _state(network), "fitting")
    _ask(model, _requests(data, fitted), _under(method, fitted))
    _compare_states(before, _state(network), "answering under the fitted steering")


def same_seed_same_result(method: Method, model: Model, data: FitData) -> None:
    """Two fits with one seed agree bit for bit, whatever global generators did before."""
    results = []
    for disturbance in (1, 2):
        with _global_seed(disturbance):
            # Twins, so that nothing remembered about the model hides a second reading.
            results.append(method.fit(_twin(model), data, seed=0))
    first, second = results

    assert _parts(first) == _parts(second), (
        f"two fits of {method.name!r} with seed 0 differ; "
        "draw from a generator made from the seed"
    )
    requests = _requests(data, first)
    one = _ask(model, requests, _under(method, first))
    other = _ask(model, requests, _under(method, second))
    assert one == other, f"two fits of {method.name!r} with seed 0 give different answers"


def dose_zero_is_the_unsteered_model(method: Method, model: Model, data: FitData) -> None:
    """Dose 0 is the unsteered model bit for bit, alone and beside steered rows."""
    fitted = method.fit(model, data, seed=0)
    requests = _requests(data, fitted)
    zero = Steering(fitted, 0.0)

    plain = model.log_probs(requests)[0]
    *_, beside = _ask(model, requests, [*_under(method, fitted), zero])
    alone = _ask(model, requests, [zero])[0]
    assert beside == alone == plain, f"dose 0 of {method.name!r} changes answers"
    prompts = [request.prompt for request in requests]
    texts = model.generate(prompts, [UNSTEERED, zero], max_tokens=NEW_TOKENS)
    assert texts[0] == texts[1], f"dose 0 of {method.name!r} changes generated text"

    # The engine does not even run edits at dose 0, so they are asked themselves as well.
    for site, h, edit in _at_work(model, fitted, data):
        for dose in (0.0, torch.zeros(len(h), device=h.device)):
            assert _bits(edit(h, dose)) == _bits(h), (
                f"the edit at site {site} changes h at dose 0"
            )
        full = torch.zeros(len(h), device=h.device)
        full[::2] = _full(method)
        assert _bits(edit(h, full)[1::2]) == _bits(h[1::2]), (
            f"the edit at site {site} changes positions of dose 0 beside steered ones"
        )


def dose_one_changes_something(method: Method, model: Model, data: FitData) -> None:
    """A full dose moves at least one score, and every score stays finite."""
    fitted = method.fit(model, data, seed=0)
    requests = _requests(data, fitted)

    plain = model.log_probs(requests)[0]
    steered = _ask(model, requests, [Steering(fitted, _full(method))])[0]

    assert _are_finite(steered), (
        f"dose {_full(method):g} of {method.name!r} gives scores that are not finite"
    )
    assert steered != plain, (
        f"dose {_full(method):g} of {method.name!r} changes no score at all"
    )


def steering_one_model_leaves_another_alone(
    method: Method, model: Model, data: FitData
) -> None:
    """Steering one model changes no answer of another, and no unsteered one of its own."""
    requests = _requests(data)
    other = _copy(model)
    before, own = other.log_probs(requests), model.log_probs(requests)

    fitted = method.fit(model, data, seed=0)
    steered, under = _requests(data, fitted), _under(method, fitted)
    _ask(model, steered, under)
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
    narrow = _twin(model, Budget(tokens=1))  # one sequence a forward call

    fitted = method.fit(model, data, seed=0)
    requests, under = _requests(data, fitted), _under(method, fitted)
    together = _ask(model, requests, under)
    refitted = _ask(model, requests, _under(method, method.fit(narrow, data, seed=0)))
    alone = [
        [_ask(narrow, [request], [steering])[0][0] for request in requests]
        for steering in under
    ]

    asked = max(map(_distance, together, alone))
    assert asked <= NOISE, (
        f"under {method.name!r} a score alone and in its batch differ by {asked:.2g} nats"
    )
    read = max(map(_distance, together, refitted))
    assert read <= NOISE, (
        f"{method.name!r} fitted one by one and in batches differs by {read:.2g} nats"
    )


def saving_and_loading_is_exact(method: Method, model: Model, data: FitData) -> None:
    """Once saved and loaded, answers and origin are the same, bit for bit."""
    fitted = method.fit(model, data, seed=0)

    with TemporaryDirectory() as folder:
        path = Path(folder) / "fitted.safetensors"
        try:
            fitted.save(path)
            loaded = Intervention.load(path)
        except SeatrialError as error:
            raise AssertionError(
                f"what {method.name!r} fits cannot be saved and loaded: {error}"
            ) from error

    assert _parts(loaded) == _parts(fitted), (
        f"what {method.name!r} fits is not the same once loaded"
    )
    assert _origin(loaded) == _origin(fitted), (
        f"what {method.name!r} fits loses its origin when saved"
    )
    requests = _requests(data, fitted)
    before = _ask(model, requests, _under(method, fitted))
    after = _ask(model, requests, _under(method, loaded))
    assert after == before, (
        f"what {method.name!r} fits gives other answers once saved and loaded"
    )


def half_precision_works(method: Method, model: Model, data: FitData) -> None:
    """On a bfloat16 model fits succeed, scores are finite, and edits keep the dtype."""
    half = _copy(model, torch.bfloat16)

    try:
        fitted = method.fit(half, data, seed=0)
    except RuntimeError as error:
        raise AssertionError(
            f"{method.name!r} cannot be fitted on a bfloat16 model: {error}"
        ) from error

    for site, h, edit in _at_work(half, fitted, data):
        dtype = edit(h, _full(method)).dtype
        assert dtype == h.dtype, f"the edit at site {site} turns {h.dtype} into {dtype}"
    requests = _requests(data, fitted)
    *steered, zero = _ask(half, requests, [*_under(method, fitted), Steering(fitted, 0.0)])
    assert all(map(_are_finite, steered)), (
        f"{method.name!r} gives scores that are not finite in bfloat16"
    )
    assert zero == half.log_probs(requests)[0], (
        f"dose 0 of {method.name!r} changes answers in bfloat16"
    )


def only_the_given_pairs_are_read(method: Method, model: Model, data: FitData) -> None:
    """While fitting, the model reads only texts of the data, or built around them."""
    watched = _twin(model)
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

    sides = [text for pair in data.pairs for text in (pair.positive, pair.negative)]
    given = {data.encourage, data.discourage, *(text.completion for text in sides)}
    given |= {words for example in data.examples for words in example}
    given |= {words for text in sides for words in _words(text.prompt)}
    given = {text.strip() for text in given}
    # Templates and demonstrations are built around texts; short ones are in anything.
    cores = [text for text in given if len(text.split()) >= 3]
    forms = _in_context(data.examples) if data.examples else []
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
    requests = _requests(data, straight)

    for dose in _doses(method):
        one, other = _ask(
            model, requests, [Steering(straight, dose), Steering(mirrored, -dose)]
        )
        gap = _distance(one, other)
        assert gap <= NOISE, (
            f"{method.name!r} says it is odd, but after swapping all pairs dose {-dose:+g} "
            f"differs from dose {dose:+g} before by {gap:.2g} nats"
        )


def cached_generation_equals_recomputation(
    method: Method, model: Model, data: FitData
) -> None:
    """Text from batches with a cache is that of running everything for every token."""
    fitted = method.fit(model, data, seed=0)
    prompts = [request.prompt for request in _requests(data, fitted)]
    under = _under(method, fitted)

    texts = model.generate(prompts, under, max_tokens=NEW_TOKENS)

    for steering, line in zip(under, texts, strict=True):
        for prompt, text in zip(prompts, line, strict=True):
            acting = naive_acting(model, prompt, steering)
            edit = acting.intervention.prompt
            asked = edit(prompt, acting.dose) if edit else prompt
            slow = naive_greedy(
                model, model.encoder.prompt_ids(asked), acting, len(text.token_ids)
            )
            assert list(text.token_ids) == slow, (
                f"under {method.name!r} at dose {steering.dose:g} cached generation gives "
                f"{text.token_ids} after {prompt!r}, recomputation gives {tuple(slow)}"
            )


CHECKS: dict[str, Check] = {
    "fit leaves the model alone": fit_leaves_the_model_alone,
    "same seed, same result": same_seed_same_result,
    "dose 0 is the unsteered model": dose_zero_is_the_unsteered_model,
    "dose 1 changes something": dose_one_changes_something,
    "steering one model leaves another alone": steering_one_model_leaves_another_alone,
    "batching and padding change nothing": batching_and_padding_change_nothing,
    "saving and loading is exact": saving_and_loading_is_exact,
    "half precision works": half_precision_works,
    "only the given pairs are read": only_the_given_pairs_are_read,
    "swapped pairs flip the sign": swapped_pairs_flip_the_sign,
    "cached generation equals recomputation": cached_generation_equals_recomputation,
}
"""Promise -> check; the function's docstring is the promise in full."""


def _requests(data: FitData, fitted: Intervention | None = None) -> list[Request]:
    """Questions like the data and others; answers are long enough for every token scope.

    Prompts are long enough for what is fitted, and some show the behaviour, so that a
    condition on it holds for them.
    """
    asked = []
    for pair in data.pairs[:2]:
        answers = [
            f"{text.completion or ' yes'} and so on"
            for text in (pair.positive, pair.negative)
        ]
        asked.append(
            Request(
                pair.id, pair.group, pair.positive.prompt, tuple(dict.fromkeys(answers))
            )
        )
    for example in data.examples[:1]:
        prompt = TEMPLATES["qa"].prompt((), example.input)
        answers = (f" {example.output} and so on", " anything else")
        asked.append(Request("query", "query", prompt, answers))
    talk = (Message("user", "How is the sea today?"),)
    asked += [
        Request("short", "short", "So", (" it goes", " be it then, and on it went")),
        Request("talk", "talk", talk, ("It is calm.", "It is rough and grey.")),
    ]
    if fitted is None:
        return asked
    for pair in data.pairs if fitted.condition else ():
        prompt, completion = pair.positive
        if isinstance(prompt, str):
            shown = f"{prompt}{completion}"
            asked.append(Request(f"{pair.id}+", pair.group, shown, (" and so it was",)))
    places = [p.tokens for p in fitted.parts if p.tokens.startswith("at_")]
    room = max((int(place.removeprefix("at_")) + 1 for place in places), default=0)
    return [replace(one, prompt=_longer(one.prompt, room)) for one in asked]


def _longer(prompt: Prompt, tokens: int) -> Prompt:
    """The prompt after so many words, each of which is a token at least."""
    words = "so " * tokens
    if isinstance(prompt, str):
        return words + prompt
    first, *others = prompt
    return (first._replace(content=words + first.content), *others)


def _full(method: Method) -> float:
    """Dose 1, or the strongest that the method has."""
    if method.doses is None or 1.0 in method.doses:
        return 1.0
    return max(method.doses, key=abs)


def _doses(method: Method) -> tuple[float, ...]:
    """The full dose and, if the method has it, its opposite."""
    full = _full(method)
    return (full, -full) if method.doses is None or -full in method.doses else (full,)


def _under(method: Method, fitted: Intervention) -> list[Steering]:
    return [Steering(fitted, dose) for dose in _doses(method)]


def _ask(
    model: Model, requests: Sequence[Request], under: Sequence[Steering]
) -> list[list[Answer]]:
    try:
        return model.log_probs(requests, under)
    except SeatrialError as error:
        raise AssertionError(
            f"the model cannot be asked under what was fitted: {error}"
        ) from error


def _distance(one: Sequence[Answer], other: Sequence[Answer]) -> float:
    """The largest difference between two lines of answers, in nats per token."""
    return max(
        abs(a - b)
        for x, y in zip(one, other, strict=True)
        for tokens, others in zip(x.log_probs, y.log_probs, strict=True)
        for a, b in zip(tokens, others, strict=True)
    )


def _are_finite(line: Sequence[Answer]) -> bool:
    return all(math.isfinite(score) for answer in line for score in answer.sums)


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


def _twin(model: Model, budget: Budget | None = None) -> Model:
    """The same network behind another ``Model``, about which nobody remembers anything."""
    return Model(
        model.engine.network,
        model.encoder.tokenizer,
        model.card,
        budget=budget or model.engine.budget,
    )


def _copy(model: Model, dtype: torch.dtype | None = None) -> Model:
    """A model with weights of its own."""
    network = copy.deepcopy(model.engine.network)
    return Model(
        network if dtype is None else network.to(dtype),  # pyright: ignore[reportArgumentType]
        model.encoder.tokenizer,
        model.card,
        budget=model.engine.budget,
    )


def _at_work(
    model: Model, fitted: Intervention, data: FitData
) -> Iterator[tuple[Any, Tensor, Any]]:
    """Every edit with activations that it meets, in the model's own dtype."""
    texts = [text for pair in data.pairs[:2] for text in (pair.positive, pair.negative)]
    if not texts:
        texts = [Text(request.prompt, request.answers[0]) for request in _requests(data)]
    sites = sorted({site for part in fitted.parts for site in part.edits})
    found = model.activations(texts, sites, "last") if sites else {}
    for part in fitted.parts:
        for site, edit in part.edits.items():
            h = found[site].to(model.engine.network.dtype).to(model.engine.device)
            yield site, h, edit


def _bits(tensor: Tensor) -> bytes:
    """The bytes of a tensor, for which -0.0 is not 0.0."""
    return (
        tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    )


def _parts(fitted: Intervention) -> tuple:
    """An intervention as values that can be compared; edits by their fields."""
    edits = [
        (part.tokens, site, type(edit), _values(edit))
        for part in fitted.parts
        for site, edit in part.edits.items()
    ]
    return fitted.tokens, fitted.prompt, fitted.readout, _values(fitted.condition), edits


def _values(record: object) -> list[object]:
    """The fields of a record, tensors by their bits; of anything else, none."""
    if not is_dataclass(record):
        return []
    values = [getattr(record, field.name) for field in fields(record)]
    return [_bits(value) if isinstance(value, Tensor) else value for value in values]


def _origin(fitted: Intervention) -> str | None:
    """The origin as it stands in a file, where tuples are lists."""
    return (
        None if fitted.origin is None else json.dumps(asdict(fitted.origin), sort_keys=True)
    )


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Set the global random generators, and put them back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def _state(network: nn.Module) -> dict[str, object]:
    """Everything about a network that fitting could leave changed, by name."""
    state: dict[str, object] = {}
    for name, module in network.named_modules():
        where = name or "the network"
        state[f"hooks of {where}"] = [
            list(getattr(module, kind).values()) for kind in _HOOKS
        ]
        state[f"forward of {where}"] = (type(module).forward, vars(module).get("forward"))
        state[f"mode of {where}"] = module.training
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        digest = hashlib.sha256(_bits(tensor)).hexdigest()
        state[f"weights {name}"] = (
            tensor.dtype,
            tensor.requires_grad,
            tensor.grad is None,
            digest,
        )
    return state


def _compare_states(before: dict[str, object], after: dict[str, object], what: str) -> None:
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    assert not changed, f"{what} changed the model: {', '.join(changed[:3])}"
