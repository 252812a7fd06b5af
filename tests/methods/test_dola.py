"""DoLa equals the formulas of the paper on plain hidden states, and finds late facts."""

import dataclasses
import functools
import json
import math

import pytest
import torch
from torch.nn.functional import kl_div

from seatrial.errors import BadOption, UnknownName, UnsupportedModel
from seatrial.files import cache_folder
from seatrial.methods import METHODS, DoLa, make_method
from seatrial.methods.dola import bucket
from seatrial.model import Model
from seatrial.steering import load, save
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.steering.readout import FLOOR, ContrastLayers, Depths
from seatrial.testing import CHECKS
from seatrial.testing.late_facts import late_facts_model
from seatrial.types import FitData, Request

NOTHING = FitData("nothing", ())
PROMPT, ANSWERS = "The answer is", (" yes, and the sea is calm", " no")
REQUEST = Request("r", "r", PROMPT, ANSWERS)
VARIANTS = {
    "dynamic": DoLa(layers="all", norm="none", divergence="published"),
    "static": DoLa(layers=(0,), scores="published-softmax"),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_keeps_every_promise(tiny, example, variant, check):
    CHECKS[check](VARIANTS[variant], tiny("llama"), example)


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "falcon", "lfm2"])
def test_it_works_in_other_families(tiny, family):
    model = tiny(family)

    plain, steered = answers(model, None, DoLa())

    assert plain != steered
    assert all(x <= 1e-6 for tokens in steered for x in tokens)


# Two direct implementations, from what transformers gives to anybody.

NEAR = 1e-5
"""Two layers this near are told apart by rounding: such a token is not compared (NaN)."""


def final_norm(network):
    for path in (
        "model.norm", "transformer.ln_f", "gpt_neox.final_layer_norm",
        "model.decoder.final_layer_norm",
    ):  # fmt: skip
        try:
            return functools.reduce(getattr, path.split("."), network)
        except AttributeError:
            continue
    raise AssertionError("add where this family keeps its final norm")


def input_norm(network, block):
    """What a block passes its input through first, by the names of transformers."""
    for path in ("model.layers", "transformer.h", "model.decoder.layers"):
        try:
            part = functools.reduce(getattr, path.split("."), network)[block]
        except AttributeError:
            continue
        names = ("input_layernorm", "ln_1", "self_attn_layer_norm")
        return next(getattr(part, name) for name in names if hasattr(part, name))
    raise AssertionError("add where this family keeps its blocks")


@torch.inference_mode()
def state_logits(model, ids, states, norm):
    """Final logits, and those of hidden states by their number; 0 is the embeddings.

    The last hidden state has passed the final norm already, the others have not.
    """
    network = model.engine.network
    output = network(input_ids=torch.tensor([ids]), output_hidden_states=True)
    hidden = output.hidden_states
    assert len(hidden) == model.n_layers + 1

    def head(h):
        logits = network.get_output_embeddings()(h)[0]
        logits = logits / (getattr(network.config, "logits_scaling", None) or 1.0)
        cap = getattr(network.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * (logits / cap).tanh()

    torch.testing.assert_close(head(hidden[-1]), output.logits[0], atol=1e-4, rtol=1e-4)

    def passed(j):  # state j is what enters block j
        norms = {"final": final_norm, "next_block": lambda each: input_norm(each, j)}
        return norms[norm](network)(hidden[j]) if norm in norms else hidden[j]

    return output.logits[0], {j: head(passed(j)) for j in states}


def by_probabilities(model, ids, states, *, norm, alpha, scores, divergence, dose):
    """The paper in float64 and probabilities, one token after the other."""
    final, early = state_logits(model, ids, states, norm)
    rows = []
    for t in range(len(ids)):
        p = final[t].double().softmax(-1)
        q = {j: logits[t].double().softmax(-1) for j, logits in early.items()}

        def distance(j, p=p, q=q):
            middle = (p + q[j]) / 2
            if divergence == "textbook":
                return float(sum((x * (x / middle).log()).sum() for x in (p, q[j])))
            return float(sum((middle * (middle / x).log()).sum() for x in (p, q[j])))

        far = max(states, key=distance)
        if any(distance(far) - distance(j) < NEAR for j in states if j != far):
            rows.append(torch.full_like(p, torch.nan))
            continue
        far = q[far]
        odds = p / far**dose
        kept = p >= alpha * p.max()
        if scores == "normalised":
            odds = odds / odds[kept].sum()
        if scores == "published-softmax":
            odds = odds / odds.sum()
        rows.append(torch.where(kept, odds.log(), FLOOR))
    return torch.stack(rows)


def by_logarithms(model, ids, states, norm):
    """The released form for TruthfulQA in float32 and logarithms, all tokens at once."""
    final, early = state_logits(model, ids, states, norm)
    mature = final.float().log_softmax(-1)
    stacked = torch.stack([early[j].float().log_softmax(-1) for j in states])
    mixture = (mature.exp() + stacked.exp()) / 2
    first = kl_div(mature.expand_as(stacked), mixture, reduction="none").sum(-1)
    second = kl_div(stacked, mixture, reduction="none").sum(-1)
    distances = first + second
    contrast = mature - stacked[distances.argmax(0), torch.arange(len(ids))]
    best, next_best = distances.topk(2, dim=0).values
    return contrast.masked_fill((best - next_best < NEAR)[:, None], torch.nan)


def direct(model, request, log_dist):
    """Scores of every answer token, by the tokenizer alone."""
    scores = []
    for answer in request.answers:
        start = len(model.encoder.tokenizer(request.prompt).input_ids)
        ids = model.encoder.tokenizer(request.prompt + answer).input_ids
        dist = log_dist(model, ids)
        scores.append([float(dist[t - 1, ids[t]]) for t in range(start, len(ids))])
    return scores


def answers(model, *methods, request=REQUEST, dose=1.0):
    """Log-probabilities of every token, by method; None is the unsteered model."""
    under = [
        UNSTEERED if m is None else Steering(m.fit(model, NOTHING, seed=0), dose)
        for m in methods
    ]
    return [line[0].log_probs for line in model.log_probs([request], under)]


def assert_near(found, expected):
    """Within 1e-4 nats, and nearly all tokens are compared.

    What the direct way cannot say, because a probability underflows, is not compared.
    """
    pairs = [
        (a, b)
        for tokens, others in zip(found, expected, strict=True)
        for a, b in zip(tokens, others, strict=True)
    ]
    compared = [(a, b) for a, b in pairs if math.isfinite(b)]
    assert len(compared) >= 0.9 * len(pairs)
    assert [a for a, _ in compared] == pytest.approx(
        [b for _, b in compared], abs=1e-4, rel=0
    )


FAMILIES = ["llama", "qwen3", "gemma2", "gemma3", "olmo2", "granite", "gpt2", "opt"]


@pytest.mark.parametrize(
    ("family", "norm"),
    [
        *((family, norm) for family in FAMILIES for norm in ("final", "none")),
        *((family, "next_block") for family in FAMILIES if family != "olmo2"),
        *(("olmo", norm) for norm in ("final", "next_block")),  # norms without weights
    ],
)
def test_it_equals_a_direct_implementation_from_hidden_states(tiny, family, norm):
    """Blocks are one less than states; the embeddings are state 0 and block -1."""
    model = tiny(family)

    for states in ((0,), (1,), (0, 1, 2)):
        layers = tuple(j - 1 for j in states)
        [found] = answers(model, DoLa(layers=layers, norm=norm, plausibility=0.0))
        by_hand = functools.partial(
            by_probabilities, states=states, norm=norm, alpha=0.0, scores="normalised",
            divergence="textbook", dose=1.0,
        )  # fmt: skip
        assert_near(found, direct(model, REQUEST, by_hand))


@pytest.mark.parametrize("scores", ["normalised", "published", "published-softmax"])
@pytest.mark.parametrize("divergence", ["textbook", "published"])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_every_form_equals_the_direct_implementation(tiny, scores, divergence, alpha):
    model = tiny("llama")
    options = {"norm": "none", "scores": scores, "divergence": divergence}

    for dose in (1.0, 0.5, -1.0):
        [found] = answers(
            model, DoLa(layers=(-1, 0, 1), plausibility=alpha, **options), dose=dose
        )
        by_hand = functools.partial(
            by_probabilities, states=(0, 1, 2), alpha=alpha, dose=dose, **options
        )
        assert_near(found, direct(model, REQUEST, by_hand))


@pytest.mark.parametrize("norm", ["final", "none"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_the_published_scores_equal_a_second_direct_implementation(tiny, family, norm):
    model = tiny(family)
    method = DoLa(
        layers=(-1, 0, 1), plausibility=0.0, norm=norm, divergence="published",
        scores="published",
    )  # fmt: skip

    [found] = answers(model, method)

    by_hand = functools.partial(by_logarithms, states=(0, 1, 2), norm=norm)
    assert_near(found, direct(model, REQUEST, by_hand))
    assert max(map(max, found)) > 0, "these scores are no log-probabilities (trap T14)"


def test_the_norm_of_the_next_block_is_another_form(tiny):
    model = tiny("llama")
    norms = ("next_block", "final", "none")

    found = answers(model, *(DoLa(layers=(0,), plausibility=0.0, norm=n) for n in norms))

    one, *others = (torch.tensor([x for part in line for x in part]) for line in found)
    assert all(float((one - other).abs().max()) > 0.01 for other in others)


def test_a_block_without_a_norm_at_its_input_is_said(tiny):
    method = DoLa(layers=(0,), norm="next_block")

    with pytest.raises(UnsupportedModel, match="block 1 of this model has no norm at its"):
        answers(tiny("olmo2"), method)


def test_a_state_too_early_or_too_late_is_noticed(tiny):
    """The check on the check: off by one, the two ways differ (trap T11)."""
    model = tiny("llama")
    [found] = answers(model, DoLa(layers=(0,), plausibility=0.0))

    for wrong in (0, 2):
        by_hand = functools.partial(
            by_probabilities, states=(wrong,), norm="final", alpha=0.0, dose=1.0,
            scores="normalised", divergence="textbook",
        )  # fmt: skip
        expected = direct(model, REQUEST, by_hand)
        gap = max(abs(a - b) for a, b in zip(found[0], expected[0], strict=True))
        assert gap > 0.01


# A planted truth: facts that a known late block writes.


@functools.cache
def late(block, seed=0):
    return late_facts_model(block, seed=seed)


def facts(world):
    return [
        Request(subject, subject, subject, (f" {mistake}", f" {answer}"))
        for subject, mistake, answer in zip(
            world.subjects, world.mistakes, world.answers, strict=True
        )
    ]


def chosen(world, method):
    """The layer that is contrasted after each subject word."""
    model = world.model
    readout = method.fit(model, NOTHING, seed=0).readout
    ids = [model.encoder.prompt_ids(subject)[0] for subject in world.subjects]
    states = [layer + 1 for layer in readout.layers]
    final, early = state_logits(model, ids, states, readout.norm)
    depths = Depths(
        final.log_softmax(-1), {j - 1: x.log_softmax(-1) for j, x in early.items()}
    )
    return {readout.layers[k] for k in readout.chosen(depths).tolist()}


def share_right(world, *methods):
    """Share of the facts whose answer is likelier than the mistake, by method."""
    under = [
        UNSTEERED if m is None else Steering(m.fit(world.model, NOTHING, seed=0))
        for m in methods
    ]
    lines = world.model.log_probs(facts(world), under)
    return [sum(a.sums[1] > a.sums[0] for a in line) / len(line) for line in lines]


@pytest.mark.parametrize("norm", ["final", "none"])
@pytest.mark.parametrize("divergence", ["textbook", "published"])
@pytest.mark.parametrize(
    ("block", "layers"),
    [(2, "low"), (2, "all"), (4, "middle"), (4, "all"), (6, "high"), (6, "all"),
     (5, (0, 1, 2, 3, 4, 5, 6)), (1, (-1, 0, 1, 2, 3, 4, 5, 6))],
)  # fmt: skip
def test_the_dynamic_choice_is_the_last_block_before_the_facts(
    block, layers, divergence, norm
):
    method = DoLa(layers=layers, divergence=divergence, norm=norm)

    assert chosen(late(block), method) == {block - 1}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("block", [2, 4, 6])
def test_taking_away_what_was_believed_before_turns_mistakes_into_answers(block, seed):
    plain, contrasted = share_right(late(block, seed), None, DoLa(layers="all"))

    assert (plain, contrasted) == (0.0, 1.0)


def test_a_contrast_with_a_block_that_knows_the_facts_leaves_an_even_choice():
    world = late(4)
    method = DoLa(layers=(5,))

    [line] = world.model.log_probs(
        facts(world), [Steering(method.fit(world.model, NOTHING, seed=0))]
    )

    for answer in line:
        assert answer.sums == pytest.approx((math.log(0.5),) * 2, abs=1e-3)


def test_what_was_known_from_the_beginning_stays_known():
    """Nothing else is plausible there, so an even choice is no choice."""
    world = late(6)
    requests = [
        Request(word, word, word, (f" {successor}",))
        for word, successor in zip(world.easy, world.successors, strict=True)
    ]

    plain, contrasted = world.model.log_probs(
        requests, [UNSTEERED, Steering(DoLa().fit(world.model, NOTHING, seed=0))], top=True
    )

    for before, after in zip(plain, contrasted, strict=True):
        assert before.is_top == after.is_top == ((True,),)
        assert after.sums[0] == pytest.approx(0, abs=1e-5)


def test_half_a_dose_is_between():
    world = late(6)
    fitted = DoLa(plausibility=0.0).fit(world.model, NOTHING, seed=0)

    lines = world.model.log_probs(
        facts(world), [Steering(fitted, dose) for dose in (0, 0.5, 1)]
    )

    margins = [line[0].sums[1] - line[0].sums[0] for line in lines]
    assert margins == sorted(margins)
    assert margins[1] == pytest.approx((margins[0] + margins[2]) / 2, abs=1e-3)


# Which layers.


def as_states(name, n_layers, **options):
    options = {"skip_embeddings": False, **options}
    return [layer + 1 for layer in bucket(name, n_layers, **options)]


@pytest.mark.parametrize(
    ("name", "n_layers", "first", "last"),
    [
        ("low", 32, 0, 14), ("high", 32, 16, 30), ("low", 40, 0, 18), ("high", 40, 20, 38),
        ("low", 60, 0, 18), ("high", 60, 40, 58), ("low", 80, 0, 18), ("high", 80, 60, 78),
        ("middle", 32, 8, 22), ("all", 32, 0, 30), ("low", 30, 0, 14), ("high", 30, 16, 28),
        ("high", 18, 10, 16),
    ],
)  # fmt: skip
def test_named_parts_are_the_published_ones(name, n_layers, first, last):
    assert as_states(name, n_layers) == list(range(first, last + 1, 2))


@pytest.mark.parametrize("name", ["low", "middle", "high", "all"])
@pytest.mark.parametrize("skip", [True, False])
def test_every_part_has_a_state_and_none_has_the_last(name, skip):
    for n_layers in range(1, 130):
        states = as_states(name, n_layers, skip_embeddings=skip)

        assert states and set(states) <= set(range(n_layers))
        assert n_layers == 1 or not (skip and 0 in states)


@pytest.mark.parametrize(
    ("family", "rule", "first"),
    [
        ("llama", "untied", -1), ("llama", "always", -1), ("llama", "never", 1),
        ("gemma3", "untied", 1), ("gemma3", "always", -1), ("gemma3", "never", 1),
    ],
)  # fmt: skip
def test_embeddings_that_unembed_are_left_out_unless_asked_for(tiny, family, rule, first):
    model = tiny(family)

    readout = DoLa(layers="all", embeddings=rule).fit(model, NOTHING, seed=0).readout

    assert model.is_tied == (family == "gemma3")
    assert readout.layers[0] == first


def test_tied_embeddings_say_the_current_token_again():
    """Why they are left out: their contrast would be with what was just read."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(vocab_size=50, hidden_size=64, intermediate_size=32,
                    num_hidden_layers=2, num_attention_heads=4, tie_word_embeddings=True)
    )  # fmt: skip
    hidden = network.model.norm(network.model.embed_tokens.weight)

    assert network.lm_head(hidden).argmax(-1).tolist() == list(range(50))


def test_explicit_layers_are_taken_as_they_are(tiny):
    readout = DoLa(layers=(1, -1)).fit(tiny("gemma3"), NOTHING, seed=0).readout

    assert readout.layers == (1, -1)


@pytest.mark.parametrize("layer", [2, 3, -2])
def test_the_last_layer_and_what_is_not_there_are_refused(tiny, layer):
    message = (
        rf"layer {layer} cannot be contrasted with the last layer of 'tiny-llama-0'; "
        "choose from 0 to 1, or -1 for the embeddings"
    )

    with pytest.raises(BadOption, match=message):
        DoLa(layers=(0, layer)).fit(tiny("llama"), NOTHING, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "hi"}, "unknown part of the depth 'hi'; known: .*Did you mean 'high'"),
        ({"scores": "raw"}, "unknown scores 'raw'; known: normalised, published, publish"),
        ({"embeddings": "tied"}, "unknown rule for embeddings 'tied'; .* mean 'untied'"),
    ],
)
def test_a_name_that_means_nothing_is_refused(tiny, options, message):
    method = DoLa()
    for option, value in options.items():
        # Tests check types as well, and would refuse these sooner than users' Python does.
        object.__setattr__(method, option, value)

    with pytest.raises(UnknownName, match=message):
        method.fit(tiny("llama"), NOTHING, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plausibility": 1.0}, "plausibility must be at least 0"),
        ({"layers": ()}, "layers must name at least one block"),
    ],
)
def test_a_value_out_of_range_is_refused(tiny, options, message):
    with pytest.raises(BadOption, match=message):
        DoLa(**options).fit(tiny("llama"), NOTHING, seed=0)


def test_every_option_has_an_effect(tiny):
    """Trap T64."""
    model = tiny("gemma3")
    base = DoLa(layers="all")
    changed = [
        {"layers": (0,)}, {"plausibility": 0.0}, {"norm": "none"}, {"scores": "published"},
        {"scores": "published-softmax"}, {"embeddings": "always"},
    ]  # fmt: skip
    assert {name for options in changed for name in options} | {"divergence"} == {
        field.name for field in dataclasses.fields(DoLa)
    }

    plain, *others = answers(
        model, base, *(dataclasses.replace(base, **options) for options in changed)
    )

    for options, other in zip(changed, others, strict=True):
        assert other != plain, options


def test_it_needs_no_data_and_remembers_where_it_comes_from(tiny, example):
    model = tiny("llama")
    method = DoLa(layers=(0, 1), scores="published")

    fitted = method.fit(model, example, seed=3)

    assert fitted.origin.options == {
        "layers": (0, 1), "plausibility": 0.1, "norm": "final", "divergence": "textbook",
        "scores": "published", "embeddings": "untied",
    }  # fmt: skip
    assert (fitted.origin.model, fitted.origin.method) == (model.identity, "dola")
    assert (fitted.origin.data, fitted.origin.seed) == (example.fingerprint, 3)
    json.dumps(dataclasses.asdict(fitted.origin))
    assert fitted.readout == method.fit(model, NOTHING, seed=0).readout
    assert not fitted.edits and fitted.prompt_edit is None


def test_the_readout_is_loaded_as_saved(tiny, tmp_path):
    path = tmp_path / "dola.safetensors"
    fitted = DoLa(scores="published-softmax").fit(tiny("llama"), NOTHING, seed=0)

    save(fitted, path)

    assert load(path).readout == fitted.readout
    assert fitted.readout == ContrastLayers((1,), mask="after")


def test_a_study_can_name_its_options():
    assert METHODS["dola"] is DoLa
    assert make_method("dola", {"layers": [1, 3]}) == DoLa(layers=(1, 3))
    assert make_method("dola", {"layers": "low"}) == DoLa(layers="low")
    with pytest.raises(BadOption, match=r"method 'dola': .*'lowest'"):
        make_method("dola", {"layers": "lowest"})


QUESTION = Request(
    "q",
    "q",
    "Q: What is the capital of France?\nA:",
    (" It is Paris, the city on the river Seine.", " It is Lyon, as everybody knows."),
)


LARGER = pytest.param("gemma3-270m", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=["smollm2-135m", LARGER])
def real(request):
    name = request.param
    if not (cache_folder("models") / f"{name}-registry" / "seatrial.json").is_file():
        pytest.skip(f"{name} is not in the cache; 'seatrial pull {name}' puts it there")
    return Model.load(name)


@pytest.mark.parametrize("name", ["low", "high"])
def test_a_real_model_equals_both_direct_implementations(real, name):
    states = as_states(name, real.n_layers, skip_embeddings=real.is_tied)
    options = {"norm": "final", "divergence": "published"}

    normalised, published = answers(
        real,
        *(
            DoLa(name, 0.0, scores=scores, **options)
            for scores in ("normalised", "published")
        ),
        request=QUESTION,
    )

    by_hand = functools.partial(
        by_probabilities, states=states, alpha=0.0, scores="normalised", dose=1.0, **options
    )
    assert_near(normalised, direct(real, QUESTION, by_hand))
    by_hand = functools.partial(by_logarithms, states=states, norm="final")
    assert_near(published, direct(real, QUESTION, by_hand))


@pytest.mark.parametrize("norm", ["final", "none"])
def test_a_real_model_is_as_near_to_float64_as_float32_can_be(real, norm):
    """Without the final norm logits reach tens of thousands, where steps of float32 are
    several thousandths: no order of summing is nearer to the truth than some such steps.
    """
    largest = 0.0

    def by_hand(model, ids, *, layer):
        nonlocal largest
        final, early = state_logits(model, ids, (layer + 1,), norm)
        largest = max(largest, float(early[layer + 1].abs().max()))
        contrast = final.log_softmax(-1) - early[layer + 1].log_softmax(-1)
        return contrast.log_softmax(-1)

    for layer in (1, real.n_layers // 2, real.n_layers - 3):
        largest = 0.0
        [found] = answers(real, DoLa((layer,), 0.0, norm), request=QUESTION)
        try:
            real.engine.network.double()
            truth = direct(real, QUESTION, functools.partial(by_hand, layer=layer))
        finally:
            real.engine.network.float()  # what float32 holds comes back unchanged

        worst = max(
            abs(a - b)
            for tokens, others in zip(found, truth, strict=True)
            for a, b in zip(tokens, others, strict=True)
        )
        assert worst <= max(1e-4, 4 * torch.finfo(torch.float32).eps * largest)
