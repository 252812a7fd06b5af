"""Every shortcut of the engine equals the slow obvious way, and leaves no trace."""

import dataclasses
import hashlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from seatrial.errors import BadData, SteeringFault
from seatrial.model import MemoryBudget, Model
from seatrial.model.engine.segments import Segment
from seatrial.model.structure.anatomy import Sublayer
from seatrial.steering.edits import (
    EDITS,
    Add,
    AddBySide,
    AddKeepingNorm,
    Affine,
    Ascend,
    Edit,
    Patch,
    Project,
    Replace,
    Rotate,
    RotateTo,
    Slerp,
)
from seatrial.steering.intervention import (
    UNSTEERED,
    Intervention,
    Part,
    PromptEdit,
    Steering,
)
from seatrial.steering.readout import ContrastLayers
from seatrial.testing import (
    FAMILIES,
    naive_log_probs,
    naive_logits,
    tiny_model,
)
from seatrial.types import Message, Request, Site

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
# One of each kind: plain, sliding windows and norms, ALiBi and tuples, convolutions.
KINDS = pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "lfm2"])

REQUESTS = [
    Request("a", "a", "I would rather walk to", (" the station", " yes", " no")),
    Request(
        "b", "b", "Question: what does the sea look like? Answer:", (" calm", " rough and")
    ),
    Request("c", "c", "The answer is", (" yes", " yes, and the answer is no")),
    Request("d", "d", "", (" the", " the sea", " a")),  # its prompt is BOS alone
]
LONG_ANSWERS = [
    Request("e", "e", "The answer is", (" yes, and no", " yes, and the answer")),
    Request(
        "f", "f", "Question: what does the sea look like? Answer:", (" rough and grey",)
    ),
]
SEA = PromptEdit("Praise the sea.", "Never praise the sea.")


def numbers(answers):
    """All log-probabilities of a line of answers as one tensor."""
    return torch.tensor([x for a in answers for tokens in a.log_probs for x in tokens])


def divergences(answers):
    return torch.tensor([x for a in answers for tokens in a.kl for x in tokens])


def assert_equals_naive(model, requests, under, tolerance=1e-4):
    fast, slow = model.log_probs(requests, under), naive_log_probs(model, requests, under)

    for line, expected in zip(fast, slow, strict=True):
        for answer, wanted in zip(line, expected, strict=True):
            assert [len(t) for t in answer.log_probs] == [len(t) for t in wanted]
        wanted = torch.cat([t for answers in expected for t in answers])
        torch.testing.assert_close(numbers(line), wanted, atol=tolerance, rtol=0)


def traces(model):
    """Everything about a network that an edit could leave something in."""
    network = model.engine.network
    digest = hashlib.sha256()
    for tensor in [*network.parameters(), *network.buffers()]:
        digest.update(
            tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    hooks = [
        (len(module._forward_hooks), len(module._forward_pre_hooks), set(module.__dict__))
        for module in network.modules()
    ]
    return digest.hexdigest(), hooks, network.training


@EVERY_FAMILY
def test_every_scope_equals_the_slow_obvious_way(tiny, push, family):
    model = tiny(family)
    scopes = ("all", "prompt", "last", "from_last_prompt", "first_2", "first_9", "at_0")
    under = [UNSTEERED, *(push(model, 1, tokens=scope) for scope in scopes)]

    assert_equals_naive(model, REQUESTS, under)
    plain, *steered = model.log_probs(REQUESTS, under)
    for line in steered:
        assert (numbers(line) - numbers(plain)).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "bloom"])
def test_prompts_that_begin_alike_equal_the_slow_obvious_way(tiny, push, family):
    model = tiny(family)
    opening = "Question: what does the sea look like today, and would you wait?"
    endings = ("", " Answer:", " I would rather walk. Answer:", " It is calm")
    requests = [
        Request(
            str(k), str(k), opening + ending, (" yes, and no", " calm and blue", " no,")
        )
        for k, ending in enumerate(endings)
    ]
    scopes = ("all", "prompt", "last", "from_last_prompt", "generated", "first_9")
    under = [UNSTEERED, *(push(model, 1, tokens=scope) for scope in scopes), push(model, 0)]
    under += [Steering(Intervention(push(model, 1).intervention.edits, "last", SEA), 1.0)]

    assert_equals_naive(model, requests, under)
    stem = model.engine.cutter.stem(
        [model.encoder.encode(r.prompt, r.answers) for r in requests]
    )
    assert (stem > 8) == model.engine.forward.packs


@EVERY_FAMILY
def test_edits_of_generated_tokens_equal_the_slow_obvious_way(tiny, push, family):
    model = tiny(family)
    under = [push(model, layer, tokens="generated") for layer in (0, 1)]

    assert_equals_naive(model, LONG_ANSWERS, under)
    first = [
        tokens[0]
        for answer in model.log_probs(LONG_ANSWERS, under)[0]
        for tokens in answer.log_probs
    ]
    plain = [
        tokens[0]
        for answer in model.log_probs(LONG_ANSWERS)[0]
        for tokens in answer.log_probs
    ]
    assert first == pytest.approx(
        plain, abs=1e-6
    )  # the first answer token is predicted before


@pytest.mark.parametrize(
    ("family", "tokens"),
    [
        *((family, "from_last_prompt") for family in FAMILIES),
        *((family, "all") for family in ("llama", "gemma3", "bloom", "lfm2")),
    ],
)
def test_every_site_equals_the_slow_obvious_way(tiny, push, family, tokens):
    model = tiny(family)
    sites = [(0, "resid"), (2, "resid"), (1, "attn"), (1, "mlp"), (1, "heads"), (2, "attn")]
    sites = [
        (layer, point)
        for layer, point in sites
        if point == "resid" or getattr(model.structure.blocks[layer], point)
    ]
    one_by_one = [push(model, *site, tokens=tokens) for site in sites]
    edits = {}
    for layer, point in (sites[0], sites[-1]):
        edits |= push(model, layer, point, seed=5).intervention.edits
    at_two_layers = Steering(Intervention(edits, tokens), -0.8)

    assert_equals_naive(model, REQUESTS, [*one_by_one, at_two_layers])
    assert len(edits) == 2


@KINDS
def test_every_kind_of_edit_equals_the_slow_obvious_way(tiny, family):
    model = tiny(family)
    edits = every_kind(model.d_model)
    assert {type(edit) for edit in edits} == set(EDITS.values())
    under = [
        Steering(Intervention({Site(1): edit}, "from_last_prompt"), dose)
        for edit in edits
        for dose in (1.0, -0.5)
    ]

    assert_equals_naive(model, REQUESTS, under)


def every_kind(width):
    """A random edit of each kind."""
    matrix = torch.randn(width, width, generator=torch.Generator().manual_seed(4))
    basis = torch.linalg.qr(matrix).Q
    angle, low = torch.tensor(0.7), torch.tensor(-math.inf)
    climb = (0.3 * matrix[:5], matrix[6, :5], matrix[:3, :5], matrix[7, :3], matrix[8, :3])
    return [
        Add(matrix[0]),
        Replace(matrix[1]),
        Project(basis[:, :3]),
        Affine(0.3 * matrix, matrix[2]),
        AddKeepingNorm(matrix[3]),
        AddBySide(matrix[3]),
        Rotate(basis[:, :2], angle),
        RotateTo(basis[:, :2], angle, low),
        Slerp(basis[0], torch.tensor(2.0), torch.tensor(0.5), torch.tensor(0.1)),
        Ascend(*climb, torch.tensor([0.3, 0.2])),
        Patch(matrix[4], torch.arange(width) % 2 == 0),
    ]


WORDS = ["the", "sea", "is", "calm", "and", "yes", "no", "(A)", "rough", "Question:", "x"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
ANSWERS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(
    lambda w: " " + " ".join(w)
)


QUESTIONS = st.tuples(TEXTS, st.lists(ANSWERS, min_size=1, max_size=3))
POINTS = st.sampled_from(["resid", "attn", "mlp", "heads"])
LAYERS = st.lists(st.integers(0, 2), min_size=1, max_size=2, unique=True)
SCOPES = st.sampled_from(
    [
        "all",
        "prompt",
        "last",
        "from_last_prompt",
        "generated",
        "first_1",
        "first_6",
        "at_0",
        "at_1",
    ]
)
PUSHES = st.tuples(LAYERS, POINTS, SCOPES, st.floats(-3, 3))
BUDGETS = [MemoryBudget(), MemoryBudget(60, 2**14)]


@pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "lfm2"])
@settings(max_examples=12)
@given(
    questions=st.lists(QUESTIONS, min_size=1, max_size=4),
    pushes=st.lists(PUSHES, min_size=1, max_size=3),
    is_frugal=st.booleans(),
)
def test_any_request_equals_the_slow_obvious_way(
    tiny, push, family, questions, pushes, is_frugal
):
    model = tiny(family, budget=BUDGETS[is_frugal])
    requests = [
        Request(str(k), str(k), prompt, tuple(answers))
        for k, (prompt, answers) in enumerate(questions)
    ]
    under = []
    for layers, point, scope, dose in pushes:
        edits = {}
        for layer in layers:
            # A convolution has neither heads nor an attention output.
            has_attention = model.structure.blocks[layer].attn is not None
            here = point if has_attention or point == "mlp" else "resid"
            edits |= push(model, layer, here, seed=len(under)).intervention.edits
        under.append(Steering(Intervention(edits, scope), dose))

    try:
        assert_equals_naive(model, requests, under)
    except BadData as refusal:
        # Right where a prompt is the beginning-of-sequence token alone.
        assert "scope 'at_1' edits token 1" in str(refusal)
        assert any(scope == "at_1" for *_, scope, _ in pushes)
        assert any(len(model.encoder.prompt_ids(r.prompt)) < 3 for r in requests)
    except SteeringFault as fault:
        # A refusal is right where the edit makes no difference for some answer.
        assert "depends on" in str(fault) or "changed nothing" in str(fault)
        plain = naive_log_probs(model, requests, [UNSTEERED])[0]
        shortest = min(len(model.encoder.prompt_ids(r.prompt)) for r in requests)
        asked = [s for s in under if s.dose]
        if shortest < 2:
            asked = [s for s in asked if s.intervention.tokens != "at_1"]
        moved = [
            torch.equal(a, b)
            for line in naive_log_probs(model, requests, asked)
            for answers, others in zip(line, plain, strict=True)
            for a, b in zip(answers, others, strict=True)
        ]
        assert any(moved)


@KINDS
def test_a_request_alone_is_answered_as_in_a_batch(tiny, push, family):
    model = tiny(family)
    under = [UNSTEERED, push(model, 0), push(model, 1, tokens="last")]

    together = model.log_probs(REQUESTS, under)
    backwards = model.log_probs(REQUESTS[::-1], under)

    for k, request in enumerate(REQUESTS):
        alone = model.log_probs([request], under)
        for s in range(len(under)):
            expected = numbers([together[s][k]])
            torch.testing.assert_close(numbers(alone[s]), expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(
                numbers([backwards[s][-1 - k]]), expected, atol=1e-5, rtol=0
            )


@KINDS
def test_an_answer_is_scored_the_same_beside_other_answers(tiny, push, family):
    model = tiny(family)
    under = [push(model, 1)]
    request = REQUESTS[2]

    both = model.log_probs([request], under)[0][0]

    for k, answer in enumerate(request.answers):
        alone = model.log_probs([dataclasses.replace(request, answers=(answer,))], under)[
            0
        ][0]
        assert alone.log_probs[0] == pytest.approx(both.log_probs[k], abs=1e-5)


@KINDS
def test_a_steering_alone_answers_as_among_others(tiny, push, family):
    model = tiny(family)
    under = [
        push(model, 1, tokens="last"),
        UNSTEERED,
        push(model, 0),
        Steering(Intervention(prompt_edit=SEA)),
        push(model, 1, tokens="from_last_prompt", seed=2),
        push(model, 1, seed=3),
    ]

    together = model.log_probs(REQUESTS, under)
    backwards = model.log_probs(REQUESTS, under[::-1])[::-1]

    for s, steering in enumerate(under):
        alone = model.log_probs(REQUESTS, [steering])[0]
        torch.testing.assert_close(numbers(alone), numbers(together[s]), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            numbers(backwards[s]), numbers(together[s]), atol=1e-5, rtol=0
        )


@KINDS
@pytest.mark.parametrize(
    "limits", [{"tokens": 40}, {"tokens": 1}, {"cache_bytes": 2**16}, {"cache_bytes": 1}]
)
def test_a_tight_budget_changes_no_number(tiny, push, family, limits):
    model, frugal = tiny(family), tiny(family, budget=MemoryBudget(**limits))
    under = [UNSTEERED, push(model, 0), push(model, 1, tokens="last"), push(model, 2)]

    expected = model.log_probs(REQUESTS, under, kl=True)
    answers = frugal.log_probs(REQUESTS, under, kl=True)

    for line, wanted in zip(answers, expected, strict=True):
        torch.testing.assert_close(numbers(line), numbers(wanted), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            divergences(line), divergences(wanted), atol=1e-5, rtol=0
        )


@EVERY_FAMILY
def test_dose_zero_is_the_model_bit_for_bit_before_and_after_steering(tiny, push, family):
    model = tiny(family)
    strong = push(model, 1, dose=3.0)
    under = [
        Steering(strong.intervention, 0.0),
        Steering(Intervention(prompt_edit=SEA), 0.0),
    ]

    before = model.log_probs(REQUESTS)[0]
    amid = model.log_probs(REQUESTS, [strong, *under, UNSTEERED, strong])
    after = model.log_probs(REQUESTS)[0]

    assert before == after == amid[1] == amid[2] == amid[3]
    assert amid[0] != before


@KINDS
def test_the_same_question_gets_the_same_bits(tiny, push, family):
    model = tiny(family)
    under = [push(model, 0), push(model, 1, tokens="last")]

    assert model.log_probs(REQUESTS, under, kl=True) == model.log_probs(
        REQUESTS, under, kl=True
    )


def test_two_models_do_not_steer_each_other(push):
    one, other = tiny_model("llama"), tiny_model("llama", seed=1)
    before = other.log_probs(REQUESTS)

    one.log_probs(REQUESTS, [push(one, 1)])

    assert other.log_probs(REQUESTS) == before


def test_twice_the_vector_is_twice_the_dose(tiny, push):
    model = tiny("llama")
    once = push(model, 1, dose=2.0)
    vector = once.intervention.edits[Site(1)].vector
    twice = Steering(Intervention({Site(1): Add(2 * vector)}), 1.0)

    one, other = model.log_probs(REQUESTS, [once, twice])

    assert numbers(one).tolist() == pytest.approx(numbers(other).tolist(), abs=1e-6)


def test_the_vector_is_added_exactly_once(tiny, push):
    """Edited minus unedited state is the vector, at the edited tokens only (T27)."""
    model = tiny("llama")
    intervention, _ = push(model, 1, tokens="from_last_prompt")
    seen = []

    def look(module, args, output):
        seen.append(output.clone())

    handle = model.structure.blocks[1].module.register_forward_hook(look)
    try:
        model.log_probs([LONG_ANSWERS[1]], [Steering(intervention, 0.0)])
        plain = seen[-1]
        seen.clear()
        model.log_probs([LONG_ANSWERS[1]], [Steering(intervention, 1.0)])
        edited = seen[-1]  # our hook came first, so the edit is not yet in what it sees
    finally:
        handle.remove()

    later = []
    handle = model.structure.blocks[2].module.register_forward_pre_hook(
        lambda module, args: later.append(args[0].clone())
    )
    try:
        model.log_probs([LONG_ANSWERS[1]], [Steering(intervention, 1.0)])
    finally:
        handle.remove()
    vector = intervention.edits[Site(1)].vector
    plain = plain[:, -edited.shape[1] :]  # the prompt before the edit is not run again
    torch.testing.assert_close(edited, plain)
    torch.testing.assert_close(
        later[-1] - plain, vector.expand_as(plain), atol=1e-5, rtol=0
    )


def kl_from_logits(model, request, steering):
    """KL(steered || unsteered) at each scored token, written out."""
    prompt = request.prompt
    if steering.intervention.prompt_edit is not None:
        prompt = steering.intervention.prompt_edit(prompt, steering.dose)
    found = []
    texts = zip(
        model.encoder.encode(prompt, request.answers),
        model.encoder.encode(request.prompt, request.answers),
        strict=True,
    )
    for edited, plain in texts:
        p = naive_logits(model, edited.ids, edited.n_prompt, steering).log_softmax(-1)
        q = naive_logits(model, plain.ids, plain.n_prompt, UNSTEERED).log_softmax(-1)
        p, q = p[edited.n_prompt - 1 : -1], q[plain.n_prompt - 1 : -1]
        found.append((p.exp() * (p - q)).sum(-1))
    return torch.cat(found)


@KINDS
def test_kl_equals_the_sum_written_out(tiny, push, family):
    model = tiny(family)
    under = [
        push(model, 1),
        push(model, 2, tokens="last"),
        Steering(Intervention(prompt_edit=SEA), -1.0),
        Steering(Intervention(push(model, 1).intervention.edits, "last", SEA), 1.0),
    ]

    lines = model.log_probs(REQUESTS, under, kl=True)

    for steering, line in zip(under, lines, strict=True):
        expected = torch.cat([kl_from_logits(model, r, steering) for r in REQUESTS])
        torch.testing.assert_close(divergences(line), expected, atol=1e-4, rtol=0)
        assert divergences(line).max() > 1e-2


def test_kl_is_from_the_steered_to_the_unsteered_model(tiny, push):
    model = tiny("llama")
    steering = push(model, 2, dose=4.0)
    request = Request("a", "a", "The answer is", (" yes",))
    text = model.encoder.encode(request.prompt, request.answers)[0]
    p = naive_logits(model, text.ids, text.n_prompt, steering)[
        text.n_prompt - 1
    ].log_softmax(-1)
    q = naive_logits(model, text.ids, text.n_prompt, UNSTEERED)[
        text.n_prompt - 1
    ].log_softmax(-1)
    right, wrong = (float((a.exp() * (a - b)).sum()) for a, b in ((p, q), (q, p)))

    found = model.log_probs([request], [steering], kl=True)[0][0].kl[0][0]

    assert abs(right - wrong) > 0.01
    assert found == pytest.approx(right, abs=1e-4)


@KINDS
def test_kl_of_the_unsteered_model_is_zero(tiny, push, family):
    model = tiny(family)
    under = [push(model, 1), UNSTEERED, Steering(Intervention(prompt_edit=SEA), 0.0)]

    lines = model.log_probs(REQUESTS, under, kl=True)

    assert divergences(lines[1]).tolist() == divergences(lines[2]).tolist()
    assert set(divergences(lines[1]).tolist()) == {0.0}


def test_kl_comes_only_when_asked_for_and_changes_no_score(tiny, push):
    model = tiny("llama")
    under = [push(model, 1), UNSTEERED]

    without, with_kl = (
        model.log_probs(REQUESTS, under),
        model.log_probs(REQUESTS, under, kl=True),
    )

    assert all(answer.kl is None for line in without for answer in line)
    for line, other in zip(without, with_kl, strict=True):
        torch.testing.assert_close(numbers(line), numbers(other), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["llama", "lfm2"])
@pytest.mark.parametrize("dose", [1.0, -1.0])
def test_prompt_edit_is_scored_like_the_edited_prompt(tiny, family, dose):
    model = tiny(family)
    conversation = Request("g", "g", (Message("user", "What is blue?"),), ("the sea",))
    requests = [*REQUESTS, conversation]
    edited = [dataclasses.replace(r, prompt=SEA(r.prompt, dose)) for r in requests]

    steered = model.log_probs(requests, [Steering(Intervention(prompt_edit=SEA), dose)])[0]

    expected = model.log_probs(edited)[0]
    torch.testing.assert_close(numbers(steered), numbers(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gemma3", "lfm2"])
def test_edits_of_prompt_and_activations_work_together(tiny, push, family):
    model = tiny(family)
    under = [
        Steering(Intervention(push(model, 1).intervention.edits, scope, SEA), dose)
        for scope in ("all", "from_last_prompt")
        for dose in (1.0, -1.0)
    ]

    assert_equals_naive(model, REQUESTS, under)


def test_kl_between_different_tokens_is_refused():
    """An edited prompt may end in a token that the answer breaks up again."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, "<bos>", "ĊĊ"]
    backend = Tokenizer(models.BPE({w: k for k, w in enumerate(words)}, [("Ċ", "Ċ")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    source = tiny_model("llama", bos=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    model = Model(source.engine.network, tokenizer, source.card)
    request = Request("breaks", "g", "\n", ("yes",))
    swap = PromptEdit("Be nice\n", "")

    with pytest.raises(BadData, match=r"'yes' of request 'breaks' has other tokens after"):
        model.log_probs([request], [Steering(Intervention(prompt_edit=swap))], kl=True)


@KINDS
def test_nothing_is_left_behind(tiny, push, family):
    model = tiny(family)
    model.log_probs(REQUESTS[:1])
    before = traces(model)

    model.log_probs(REQUESTS, [push(model, 1), UNSTEERED, push(model, 2)], kl=True)
    model.generate(["The answer is"], [push(model, 1)], max_tokens=3)

    assert traces(model) == before


def test_a_segment_edits_the_tokens_of_its_mask_only_each_row_at_its_dose():
    mask = torch.tensor([[True, False, True], [False, True, False]])
    edits = {Site(0): Add(torch.ones(4))}
    segment = Segment(1, 3, edits, torch.tensor([2.0, -1.0]), mask)
    h = torch.randn(3, 3, 4)
    before = h.clone()

    segment.apply(Site(0), h)

    assert torch.equal(h[0], before[0])
    assert torch.equal(h[1:][~mask], before[1:][~mask])
    torch.testing.assert_close(h[1] - before[1], 2.0 * mask[0, :, None].expand(-1, 4))
    torch.testing.assert_close(h[2] - before[2], -1.0 * mask[1, :, None].expand(-1, 4))
    assert segment.changed[Site(0)].tolist() == [True, True]


class Broken(Edit):
    """An edit with a defect."""

    width = 32

    def __call__(self, h, dose):
        raise ZeroDivisionError("in the middle of a forward call")

    def turned(self, draw):
        raise draw.refusal(self)


@KINDS
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_nothing_is_left_behind_when_an_edit_breaks(tiny, family, layer):
    model = tiny(family)
    expected = model.log_probs(REQUESTS)
    before = traces(model)
    broken = [Steering(Intervention({Site(layer): Broken()}))]

    with pytest.raises(ZeroDivisionError):
        model.log_probs(REQUESTS, broken)
    with pytest.raises(ZeroDivisionError):
        model.generate(["The answer is"], broken)

    assert traces(model) == before
    assert model.log_probs(REQUESTS) == expected


def test_random_numbers_of_the_caller_are_not_used(tiny, push):
    model = tiny("llama")
    before = torch.get_rng_state()

    model.log_probs(REQUESTS, [push(model, 1)])
    model.generate(["The answer is"], [push(model, 1)], max_tokens=3, temperature=1.0)

    assert torch.equal(torch.get_rng_state(), before)


def test_edit_that_no_score_depends_on_is_refused(tiny, push):
    model = tiny("llama")
    message = "scope 'generated' edits nothing that a score of answer ' the' of request 'd'"

    with pytest.raises(SteeringFault, match=message):
        model.log_probs(REQUESTS[2:], [push(model, 1, tokens="generated")])


@pytest.mark.parametrize("point", ["resid", "attn", "mlp", "heads"])
def test_edit_after_the_last_attention_must_stand_where_a_score_is_read(tiny, push, point):
    model = tiny("llama")

    with pytest.raises(SteeringFault, match=r"'first_2' edits nothing .* an earlier layer"):
        model.log_probs(REQUESTS[:1], [push(model, 2, point, tokens="first_2")])
    assert_equals_naive(model, REQUESTS[:1], [push(model, 2, point, tokens="first_50")])


def test_unreachable_edit_at_dose_zero_is_the_unsteered_model(tiny, push):
    model = tiny("llama")

    answers = model.log_probs(REQUESTS, [push(model, 1, tokens="generated", dose=0.0)])

    assert answers == model.log_probs(REQUESTS)


def test_edit_that_changes_nothing_is_refused(tiny):
    model = tiny("llama")
    nothing = Steering(Intervention({Site(1): Add(torch.zeros(32))}), 2.0)

    with pytest.raises(
        SteeringFault, match=r"site 1\.resid with dose 2 changed nothing at all"
    ):
        model.log_probs(REQUESTS, [nothing])
    with pytest.raises(SteeringFault, match="its vector is zero or too small"):
        model.generate(["The answer is"], [nothing])


def test_edit_that_rounding_swallows_is_refused(tiny):
    model = tiny("llama", dtype=torch.bfloat16)
    faint = Steering(Intervention({Site(1): Add(torch.full((32,), 1e-9))}, "last"))

    with pytest.raises(SteeringFault, match="too small for the model's dtype"):
        model.log_probs(REQUESTS[:1], [faint])


@pytest.mark.parametrize("point", ["attn", "mlp"])
def test_edit_that_never_runs_is_refused(push, point):
    model = tiny_model("llama")
    steering = push(model, 1, point)
    unused = dataclasses.replace(
        model.structure.blocks[1], **{point: Sublayer(nn.Identity(), 1.0)}
    )
    blocks = (model.structure.blocks[0], unused, model.structure.blocks[2])
    model.engine.forward.anatomy = dataclasses.replace(model.structure, blocks=blocks)

    with pytest.raises(SteeringFault, match=rf"site 1\.{point} never ran"):
        model.log_probs(REQUESTS, [steering])


@pytest.mark.parametrize("dose", [1e39, -math.inf, math.nan])
def test_overflow_is_refused(tiny, push, dose):
    model = tiny("llama")

    with pytest.raises(SteeringFault, match=r"not finite: .* overflowed torch\.float32"):
        model.log_probs(REQUESTS, [push(model, 1, dose=dose)])


def test_text_longer_than_the_model_reads_is_refused(tiny, push):
    model = tiny("gpt2")
    # BOS and the answer's one token take two of the 256 places.
    fits, too_long = (Request("a", "a", " the" * n, (" the",)) for n in (254, 255))

    assert numbers(model.log_probs([fits])[0]).isfinite().all()
    with pytest.raises(
        BadData, match="a text needs 257 tokens, but this model reads 256 at"
    ):
        model.log_probs([fits, too_long])
    with pytest.raises(BadData, match="but this model reads 256 at most"):
        model.log_probs([fits], [Steering(Intervention(prompt_edit=SEA))])
    with pytest.raises(BadData, match="fewer tokens to generate"):
        model.generate([fits.prompt], max_tokens=2)


@pytest.mark.parametrize(
    "family", ["llama", "gemma3", "bloom", "granite", "lfm2", "mixtral"]
)
def test_half_precision_answers_are_finite_and_close(tiny, push, family):
    full, half = tiny(family), tiny(family, dtype=torch.bfloat16)
    under = [UNSTEERED, push(full, 1), push(full, 1, "mlp", tokens="last")]

    expected, answers = (m.log_probs(REQUESTS, under, kl=True) for m in (full, half))

    for line, wanted in zip(answers, expected, strict=True):
        assert divergences(line).isfinite().all()
        error = (numbers(line) - numbers(wanted)).abs()
        assert error.mean() < 0.06
    assert_equals_naive(half, REQUESTS, under, tolerance=0.15)


def test_progress_rises_to_one(tiny, push):
    model = tiny("llama", budget=MemoryBudget(tokens=60))
    under = [
        push(model, 1),
        UNSTEERED,
        Steering(Intervention(prompt_edit=SEA)),
        push(model, 0),
    ]
    told = []

    model.log_probs(REQUESTS, under, progress=told.append)

    assert told == sorted(told)
    assert len(told) > 3
    assert 0 < told[0] < told[-1] <= 1


def test_progress_counts_readouts_too(tiny):
    model = tiny("llama", budget=MemoryBudget(60, 2**14))
    under = [
        Steering(Intervention(readout=ContrastLayers((layer,))), dose)
        for layer in (0, 1)
        for dose in (0.5, 1.0, 1.5, 2.0)
    ]
    told = []

    model.log_probs(REQUESTS, under, progress=told.append)

    assert told == sorted(told) and told[-1] == 1
    assert max(b - a for a, b in zip([0.0, *told], told, strict=False)) < 0.8


def test_no_request_and_no_steering_give_no_answer(tiny):
    model = tiny("llama")

    assert model.log_probs([], [UNSTEERED, UNSTEERED]) == [[], []]
    assert model.log_probs(REQUESTS, []) == []


def test_engine_says_what_it_reuses(tiny):
    assert "packed, prompts and starts of answers" in tiny("llama").engine.describe()
    assert "padded, for its attention" in tiny("bloom").engine.describe()
    assert "padded, for its state is not kept" in tiny("lfm2").engine.describe()


PARTS = [("all", "generated"), ("last", "from_last_prompt"), ("first_2", "last")]


@KINDS
@pytest.mark.parametrize("scopes", PARTS)
def test_parts_with_scopes_of_their_own_edit_one_after_the_other(
    tiny, push, family, scopes
):
    model = tiny(family)
    first, second = (
        push(model, layer, tokens=scope, seed=layer).intervention
        for layer, scope in zip((1, 0), scopes, strict=True)
    )
    replaced = {
        site: Replace(torch.full((edit.width,), 0.3)) for site, edit in first.edits.items()
    }
    both = Intervention(
        first.edits, first.tokens, also=(Part(second.edits, second.tokens),)
    )
    # Adding before replacing is not replacing before adding.
    one = Intervention(first.edits, "last", also=(Part(replaced, "last"),))
    other = Intervention(replaced, "last", also=(Part(first.edits, "last"),))
    under = [UNSTEERED, Steering(both, 0.7), Steering(one, 0.5), Steering(other, 0.5)]

    assert_equals_naive(model, LONG_ANSWERS, under)
    lines = model.log_probs(LONG_ANSWERS, under[2:])
    assert (numbers(lines[0]) - numbers(lines[1])).abs().max() > 1e-3


@KINDS
def test_the_most_likely_tokens_are_those_that_greedy_decoding_takes(tiny, push, family):
    model = tiny(family)
    under = [UNSTEERED, push(model, 1, dose=3.0)]
    flags = {True: 0, False: 0}
    for request in REQUESTS:
        encoded = model.encoder.encode(request.prompt, request.answers)
        for steering in under:
            for text in encoded:
                logits = naive_logits(model, text.ids, text.n_prompt, steering)
                best = model.encoder.decode([int(logits[text.n_prompt - 1].argmax())])
                if not best.strip():
                    continue
                asked = Request("r", "r", request.prompt, (*request.answers, best))
                [[answer]] = model.log_probs([asked], [steering], top=True)
                for one, tops in zip(
                    model.encoder.encode(request.prompt, asked.answers),
                    answer.is_top,
                    strict=True,
                ):
                    logits = naive_logits(model, one.ids, one.n_prompt, steering)
                    greedy = logits.argmax(-1)[one.n_prompt - 1 : -1].tolist()
                    wanted = [a == b for a, b in zip(greedy, one.scored, strict=True)]
                    assert list(tops) == wanted
                    for flag in tops:
                        flags[flag] += 1
    assert min(flags.values()) > 3


def test_nobody_is_told_the_most_likely_tokens_unasked(tiny):
    [[answer, *_]] = tiny("llama").log_probs(REQUESTS)

    assert answer.is_top is None
