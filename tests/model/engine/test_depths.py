"""Answers and texts under a readout equal those of whole forwards ended early by hand."""

import math

import pytest
import torch

from seatrial.errors import UnsupportedModel
from seatrial.model import MemoryBudget
from seatrial.model.engine import depths
from seatrial.model.engine.depths import Reader
from seatrial.steering.intervention import UNSTEERED, Intervention, PromptEdit, Steering
from seatrial.steering.readout import FLOOR, ContrastLayers
from seatrial.testing import naive_greedy, naive_log_probs
from seatrial.testing.naive import naive_log_dist
from seatrial.types import Request

# Plain, soft cap and windows, scaled logits, biased logits, padded, stateful.
KINDS = ["llama", "gemma2", "granite", "gptj", "bloom", "lfm2"]
EVERY_KIND = pytest.mark.parametrize("family", KINDS)
FOUR = pytest.mark.parametrize("family", ["llama", "gemma2", "bloom", "lfm2"])
REQUESTS = [
    Request("a", "a", "I would rather walk to", (" the station", " yes", " no")),
    Request("b", "b", "The answer is", (" yes", " yes, and the answer is no")),
    Request("c", "c", "", (" the", " the sea")),  # its prompt is BOS alone
]
FEW = [Request("f", "f", "I would rather walk", (" to the", " yes"))]
SEA = PromptEdit("Praise the sea.", "Never praise the sea.")
# Nothing ruled out, so that no score is the floor and every error shows.
FREE = {"plausibility": 0.0}


def contrast(*layers, dose=1.0, edits=(), tokens="all", prompt=None, **options):
    readout = ContrastLayers(layers, **options)
    edits = dict(edits) if edits else {}
    return Steering(Intervention(edits, tokens, prompt, readout=readout), dose)


def numbers(line, of="log_probs"):
    return torch.tensor([x for a in line for part in getattr(a, of) for x in part])


def assert_equals_naive(model, requests, under, tolerance=1e-4):
    lines = model.log_probs(requests, under)
    wanted = naive_log_probs(model, requests, under)
    for line, expected in zip(lines, wanted, strict=True):
        expected = torch.cat([scores for answers in expected for scores in answers])
        torch.testing.assert_close(numbers(line), expected, atol=tolerance, rtol=0)
    return lines


def by_hand(model, ids, layers, norm, alpha, dose):
    """DoLa over one Llama, from ``output_hidden_states`` and the formulas of the paper."""
    network = model.engine.network
    with torch.inference_mode():
        output = network(input_ids=torch.tensor([ids]), output_hidden_states=True)
    norm_of = network.model.norm if norm == "final" else torch.nn.Identity()
    q = output.logits[0].softmax(-1)
    early = []
    for layer in layers:
        states = output.hidden_states[layer + 1][0]
        early.append(network.lm_head(norm_of(states)).softmax(-1))
    changed = []
    for token in range(len(ids)):
        p = q[token]

        def distance(other, p=p):
            middle = (p + other) / 2
            return float(
                (p * (p / middle).log()).sum() + (other * (other / middle).log()).sum()
            )

        far = max(early, key=lambda dist, token=token: distance(dist[token]))[token]
        ratio = p / far**dose
        ratio[p < alpha * p.max()] = 0
        log_p = (ratio / ratio.sum()).log()
        changed.append(log_p.masked_fill(log_p.isinf(), FLOOR))
    return torch.stack(changed)


@pytest.mark.parametrize("norm", ["none", "final"])
@pytest.mark.parametrize("layers", [(-1,), (0,), (0, 1), (-1, 0, 1)])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_the_method_of_the_paper_is_what_is_scored(tiny, norm, layers, alpha):
    model = tiny("llama")
    steering = contrast(*layers, norm=norm, plausibility=alpha, dose=1.0)

    answers = model.log_probs(REQUESTS, [steering])[0]

    for request, answer in zip(REQUESTS, answers, strict=True):
        texts = model.encoder.encode(request.prompt, request.answers)
        for text, scores in zip(texts, answer.log_probs, strict=True):
            dist = by_hand(model, text.ids, layers, norm, alpha, 1.0)
            places = range(text.n_prompt, len(text.ids))
            expected = [float(dist[t - 1, text.ids[t]]) for t in places]
            assert scores == pytest.approx(expected, abs=1e-4)


@EVERY_KIND
def test_every_option_equals_the_slow_obvious_way(tiny, family):
    model = tiny(family)
    under = [
        contrast(layers, norm=norm, dose=dose, **FREE)
        for layers in (-1, 0, 1, 2)
        for norm, dose in (("none", 1.0), ("final", -0.7))
    ]
    under += [
        contrast(0, 1, norm="none", divergence="published", **FREE),
        contrast(0, 1, norm="final", normalise=False, **FREE),
        contrast(0, 1, norm="next_block", **FREE),
        contrast(-1, 0, 1, plausibility=0.1, dose=0.5),
        UNSTEERED,
    ]

    lines = assert_equals_naive(model, [*FEW, REQUESTS[2]], under)

    for line in lines[:-1]:
        gap = (numbers(line) - numbers(lines[-1])).abs().max()
        assert gap > 1e-3 or line is lines[7]  # layer 2 with its norm is the model itself


@pytest.mark.parametrize("family", ["llama", "deepseek_v3", "gpt_oss"])
def test_the_last_layer_is_the_model_so_its_contrast_is_even(tiny, family):
    """Layer N with the final norm is q_N itself: F = 0."""
    model = tiny(family)

    answers = model.log_probs(REQUESTS, [contrast(2, norm="final", dose=1.0, **FREE)])[0]

    even = -math.log(model.engine.unembedding.vocabulary)
    torch.testing.assert_close(
        numbers(answers), torch.full_like(numbers(answers), even), atol=1e-4, rtol=0
    )


@FOUR
@pytest.mark.parametrize("scope", ["all", "prompt", "from_last_prompt", "first_2"])
def test_readouts_see_edits_that_came_before(tiny, push, family, scope):
    """Early states of an edited pass are those of the edited pass, at every layer."""
    model = tiny(family)
    under = [
        contrast(
            *layers,
            edits=push(model, site).intervention.edits,
            tokens=scope,
            dose=dose,
            norm=norm,
            **FREE,
        )
        for site, layers, norm, dose in (
            (0, (0,), "none", 1.0),
            (1, (0,), "final", -0.5),
            (1, (-1, 0, 1), "final", 2.0),
        )
    ]

    assert_equals_naive(model, FEW, under)


@pytest.mark.parametrize("family", ["llama", "gemma2", "bloom"])
@pytest.mark.parametrize("point", ["attn", "mlp", "heads"])
def test_readouts_see_edits_inside_of_blocks(tiny, push, family, point):
    model = tiny(family)
    under = [
        contrast(
            *layers, edits=push(model, site, point).intervention.edits, tokens=scope, **FREE
        )
        for site, scope in ((0, "all"), (1, "from_last_prompt"), (2, "last"))
        for layers in ((1,), (0, 2))
    ]

    assert_equals_naive(model, FEW, under)


@pytest.mark.parametrize("family", ["llama", "gemma2", "bloom"])
def test_edits_of_generated_tokens_and_readouts_work_together(tiny, push, family):
    model = tiny(family)
    requests = [
        Request("e", "e", "The answer is", (" yes, and no", " yes, and the answer"))
    ]
    edits = push(model, 1).intervention.edits
    under = [
        contrast(0, 1, edits=edits, tokens="generated", dose=d, **FREE) for d in (1.0, -1.0)
    ]

    assert_equals_naive(model, requests, under)


@FOUR
def test_prompt_edits_and_readouts_work_together(tiny, push, family):
    model = tiny(family)
    edits = push(model, 1).intervention.edits
    under = [
        contrast(0, 1, prompt=SEA, dose=1.0, **FREE),
        contrast(0, 1, prompt=SEA, dose=-1.0, **FREE),
        contrast(0, 1, prompt=SEA, edits=edits, tokens="last", dose=-1.0, **FREE),
    ]

    assert_equals_naive(model, [*FEW, REQUESTS[2]], under)


@FOUR
def test_kl_under_a_readout_is_the_sum_written_out(tiny, push, family):
    model = tiny(family)
    edits = push(model, 1).intervention.edits
    under = [
        contrast(0, norm="none", dose=0.5, **FREE),
        contrast(0, 1, plausibility=0.1, dose=1.0),
        contrast(1, edits=edits, tokens="last", dose=-0.5, **FREE),
        contrast(1, prompt=SEA, dose=1.0, **FREE),
        UNSTEERED,
    ]

    requests = [*FEW, REQUESTS[2]]
    lines = model.log_probs(requests, under, kl=True)

    for steering, line in zip(under, lines, strict=True):
        expected = []
        for request in requests:
            prompt = request.prompt
            if steering.intervention.prompt_edit is not None:
                prompt = steering.intervention.prompt_edit(prompt, steering.dose)
            for one, other in zip(
                model.encoder.encode(prompt, request.answers),
                model.encoder.encode(request.prompt, request.answers),
                strict=True,
            ):
                p = naive_log_dist(model, one.ids, one.n_prompt, steering)
                q = naive_log_dist(model, other.ids, other.n_prompt, UNSTEERED)
                p, q = p[one.n_prompt - 1 : -1], q[other.n_prompt - 1 : -1]
                expected.append((p.exp() * (p - q)).sum(-1))
        torch.testing.assert_close(
            numbers(line, "kl"), torch.cat(expected), atol=2e-4, rtol=1e-4
        )
    assert set(numbers(lines[-1], "kl").tolist()) == {0.0}


@FOUR
def test_several_readouts_at_once_equal_one_at_a_time(tiny, push, family):
    model = tiny(family)
    edits = push(model, 1).intervention.edits
    under = [
        contrast(0, norm="none"),
        contrast(1, norm="final"),
        push(model, 1, tokens="last"),
        contrast(0, 1, norm="none", dose=2.0),
        UNSTEERED,
        contrast(-1, 1, edits=edits, tokens="last"),
        contrast(1, edits=edits, dose=0.5),
        contrast(1, prompt=SEA),
    ]

    together = model.log_probs(FEW, under)
    backwards = model.log_probs(FEW, under[::-1])[::-1]

    for steering, line, other in zip(under, together, backwards, strict=True):
        alone = numbers(model.log_probs(FEW, [steering])[0])
        torch.testing.assert_close(numbers(line), alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(numbers(other), alone, atol=1e-5, rtol=0)


@FOUR
def test_dose_zero_is_the_model_bit_for_bit(tiny, push, family):
    model = tiny(family)
    edits = push(model, 1).intervention.edits
    under = [
        contrast(0, 1, dose=0.0),
        contrast(0, edits=edits, prompt=SEA, dose=0.0),
        contrast(0, 1, normalise=False, dose=0.0),
        UNSTEERED,
    ]
    before = model.log_probs(REQUESTS)[0]

    lines = model.log_probs(REQUESTS, [*under, contrast(0, 1, dose=1.0)], kl=True)

    for line in lines[:-1]:
        assert [a.log_probs for a in line] == [a.log_probs for a in before]
        assert set(numbers(line, "kl").tolist()) == {0.0}
    assert model.log_probs(REQUESTS)[0] == before


@pytest.mark.parametrize("family", ["llama", "bloom"])
@pytest.mark.parametrize("limits", [{"tokens": 30}, {"tokens": 1}, {"cache_bytes": 2**13}])
def test_a_tight_budget_changes_no_number(tiny, push, family, limits, monkeypatch):
    model, frugal = tiny(family), tiny(family, budget=MemoryBudget(**limits))
    edits = push(model, 1).intervention.edits
    under = [
        contrast(0, 1, **FREE),
        contrast(0, edits=edits, tokens="last", **FREE),
        contrast(1, prompt=SEA, **FREE),
    ]
    expected = model.log_probs(REQUESTS, under, kl=True)
    monkeypatch.setattr(depths, "NUMBERS", 2000)  # six rows of one distribution

    answers = frugal.log_probs(REQUESTS, under, kl=True)

    for line, wanted in zip(answers, expected, strict=True):
        for of in ("log_probs", "kl"):
            torch.testing.assert_close(
                numbers(line, of), numbers(wanted, of), atol=1e-5, rtol=0
            )


def test_all_readouts_of_one_pass_share_it(tiny, monkeypatch):
    """A grid of layers and doses costs one pass over the network."""
    model = tiny("llama")
    calls, call = [], model.engine.forward.run
    monkeypatch.setattr(
        model.engine.forward, "run", lambda *a, **k: calls.append(1) or call(*a, **k)
    )
    under = [contrast(layer, dose=d) for layer in (-1, 0, 1) for d in (0.5, 1.0, 2.0)]

    model.log_probs(REQUESTS, under)

    assert len(calls) == 1


def test_half_precision_stays_near(tiny):
    full, half = tiny("llama"), tiny("llama", dtype=torch.bfloat16)
    under = [contrast(0, 1, dose=0.5, **FREE), contrast(0, norm="none", **FREE)]

    for line, wanted in zip(
        half.log_probs(REQUESTS, under), full.log_probs(REQUESTS, under), strict=True
    ):
        assert (numbers(line) - numbers(wanted)).abs().mean() < 0.1


def test_a_model_without_a_final_norm_is_refused_where_it_is_needed(tiny):
    unembedding = tiny("llama").engine.unembedding
    reader = Reader(unembedding, None)
    h = torch.randn(2, 32)

    assert reader.depths(h, {0: h}, "none").early[0].shape == (2, 320)
    with pytest.raises(
        UnsupportedModel, match="final norm was not found, so early states cannot pass it"
    ):
        reader.depths(h, {0: h}, "final")


PROMPTS = ["I would rather walk to", ""]


@FOUR
def test_text_under_a_readout_equals_recomputation(tiny, push, family):
    model = tiny(family)
    edits = push(model, 1).intervention.edits
    under = [
        contrast(0, norm="none"),
        contrast(-1, 0, 1, norm="final", dose=2.0, **FREE),
        contrast(0, 1, edits=edits, tokens="all", dose=1.0, **FREE),
        contrast(0, 1, edits=edits, tokens="generated", dose=-1.0),
        contrast(0, prompt=SEA, dose=1.0, **FREE),
        UNSTEERED,
        push(model, 0, tokens="last"),
    ]

    lines = model.generate(PROMPTS, under, max_tokens=4)

    texts = {tuple(c.token_ids for c in line) for line in lines}
    assert len(texts) > 3
    for steering, line in zip(under, lines, strict=True):
        for prompt, completion in zip(PROMPTS, line, strict=True):
            if steering.intervention.prompt_edit is not None:
                prompt = steering.intervention.prompt_edit(prompt, steering.dose)
            ids = model.encoder.prompt_ids(prompt)
            n = len(completion.token_ids)
            assert list(completion.token_ids) == naive_greedy(model, ids, steering, n)
            whole = [*ids, *completion.token_ids]
            dist = naive_log_dist(model, whole, len(ids), steering)
            expected = [float(dist[t - 1, whole[t]]) for t in range(len(ids), len(whole))]
            assert completion.log_probs == pytest.approx(expected, abs=1e-4)


def test_an_implausible_token_is_never_drawn(tiny):
    model = tiny("llama")
    ids = model.encoder.prompt_ids("The answer is")
    steering = contrast(0, plausibility=0.3)
    dist = naive_log_dist(model, ids, len(ids), steering)[-1]
    allowed = set((dist > FLOOR).nonzero()[:, 0].tolist())

    drawn = {
        model.generate(
            ["The answer is"], [steering], max_tokens=1, temperature=2.0, seed=seed
        )[0][0].token_ids[0]
        for seed in range(20)
    }

    assert len(drawn) > 1
    assert drawn <= allowed
