"""Generated text is what the slow obvious way gives, whatever else is in the batch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache, LlamaConfig

from seatrial.errors import SteeringFault
from seatrial.model import MemoryBudget
from seatrial.model.engine.cache import roomy_cache
from seatrial.steering.edits import Add, Replace
from seatrial.steering.intervention import UNSTEERED, Intervention, PromptEdit, Steering
from seatrial.testing import FAMILIES, naive_greedy, naive_logits
from seatrial.types import Message, Site

KINDS = pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "lfm2"])
PROMPTS = [
    "I would rather walk to",
    "The answer is",
    "Question: what does the sea look like?",
]
SEA = PromptEdit("Praise the sea.", "Never praise the sea.")


def assert_equals_naive(model, prompts, under, max_tokens):
    lines = model.generate(prompts, under, max_tokens=max_tokens)
    for steering, line in zip(under, lines, strict=True):
        for prompt, completion in zip(prompts, line, strict=True):
            if steering.intervention.prompt_edit is not None:
                prompt = steering.intervention.prompt_edit(prompt, steering.dose)
            ids = model.encoder.prompt_ids(prompt)
            expected = naive_greedy(model, ids, steering, max_tokens)
            assert list(completion.token_ids) == expected[: len(completion.token_ids)]
            assert completion.finish == "end" or len(completion.token_ids) == max_tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_text_equals_the_slow_obvious_way(tiny, push, family):
    """Decoding must edit the tokens of the scope, no more and no fewer (T2)."""
    model = tiny(family)
    scopes = ("all", "last", "generated", "first_5", "at_2")
    under = [UNSTEERED, *(push(model, 1, tokens=scope) for scope in scopes)]

    assert_equals_naive(model, PROMPTS[1:], under, max_tokens=6)


@KINDS
@pytest.mark.parametrize("point", ["mlp", "attn", "heads"])
def test_other_sites_equal_the_slow_obvious_way(tiny, push, family, point):
    model = tiny(family)
    under = [push(model, 1, point, dose=3.0, tokens=t) for t in ("all", "from_last_prompt")]

    assert_equals_naive(model, PROMPTS, under, max_tokens=4)


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_prompt_edit_is_continued_like_the_edited_prompt(tiny, push, family):
    model = tiny(family)
    both = Steering(Intervention(push(model, 1).intervention.edits, "all", SEA), -1.0)

    assert_equals_naive(model, PROMPTS, [Steering(Intervention(prompt_edit=SEA)), both], 4)


def test_scopes_give_different_texts(tiny, push):
    model = tiny("llama")
    scopes = ("all", "last", "generated", "prompt")
    under = [UNSTEERED, *(push(model, 1, tokens=s, dose=4.0) for s in scopes)]

    texts = [line[0].text for line in model.generate(PROMPTS[:1], under, max_tokens=12)]

    assert len(set(texts)) == 5


@KINDS
def test_batch_and_order_do_not_matter(tiny, push, family):
    model, frugal = tiny(family), tiny(family, budget=MemoryBudget(tokens=8))
    under = [push(model, 1), UNSTEERED, push(model, 1, tokens="last", seed=2)]

    together = model.generate(PROMPTS, under, max_tokens=6)

    backwards = model.generate(PROMPTS[::-1], under[::-1], max_tokens=6)
    narrow = frugal.generate(PROMPTS, under, max_tokens=6)
    for s, steering in enumerate(under):
        for k, prompt in enumerate(PROMPTS):
            alone = model.generate([prompt], [steering], max_tokens=6)[0][0]
            for found in (together[s][k], backwards[-1 - s][-1 - k], narrow[s][k]):
                assert (found.text, found.token_ids) == (alone.text, alone.token_ids)
                assert found.log_probs == pytest.approx(alone.log_probs, abs=1e-5)


@KINDS
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_dose_zero_equals_the_unsteered_text(tiny, push, family, temperature):
    model = tiny(family)
    strong = push(model, 1, dose=5.0)
    before = model.generate(PROMPTS, max_tokens=6, temperature=temperature)[0]
    under = [
        strong,
        Steering(strong.intervention, 0.0),
        Steering(Intervention(prompt_edit=SEA), 0.0),
    ]

    _, zero, silent = model.generate(PROMPTS, under, max_tokens=6, temperature=temperature)

    for line in (zero, silent):
        for completion, plain in zip(line, before, strict=True):
            assert completion.token_ids == plain.token_ids
            assert completion.log_probs == pytest.approx(plain.log_probs, abs=1e-5)
    assert model.generate(PROMPTS, max_tokens=6, temperature=temperature)[0] == before


@KINDS
def test_the_same_question_gets_the_same_bits(tiny, push, family):
    """Where a row stands in its batch decides its last bits, so the order must not vary."""
    model = tiny(family)
    under = [push(model, 1), UNSTEERED, push(model, 1, tokens="last", seed=2)]

    runs = [model.generate(PROMPTS, under, max_tokens=4) for _ in range(4)]

    assert all(run == runs[0] for run in runs)


@KINDS
def test_log_probs_equal_the_slow_obvious_way(tiny, push, family):
    model = tiny(family)
    steering = push(model, 1)

    completion = model.generate(PROMPTS[:1], [steering], max_tokens=5)[0][0]

    ids = model.encoder.prompt_ids(PROMPTS[0])
    whole = [*ids, *completion.token_ids]
    log_dist = naive_logits(model, whole, len(ids), steering).log_softmax(-1)
    expected = [float(log_dist[t - 1, whole[t]]) for t in range(len(ids), len(whole))]
    assert completion.log_probs == pytest.approx(expected, abs=1e-4)


def test_log_probs_are_those_before_temperature(tiny):
    model = tiny("llama")
    hot = model.generate(PROMPTS[:1], max_tokens=4, temperature=3.0, seed=1)[0][0]

    ids = model.encoder.prompt_ids(PROMPTS[0])
    whole = [*ids, *hot.token_ids]
    log_dist = naive_logits(model, whole, len(ids), UNSTEERED).log_softmax(-1)
    expected = [float(log_dist[t - 1, whole[t]]) for t in range(len(ids), len(whole))]
    assert hot.log_probs == pytest.approx(expected, abs=1e-4)


def test_stop_string_cuts_the_text_before_it(tiny):
    model = tiny("llama")
    whole = model.generate(PROMPTS[:1], max_tokens=10)[0][0]
    stop = whole.text[4:6]

    cut = model.generate(PROMPTS[:1], max_tokens=10, stop=["never seen", stop])[0][0]

    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish == "stop"
    assert cut.token_ids == whole.token_ids[: len(cut.token_ids)]
    assert len(cut.token_ids) == len(cut.log_probs) < 10


def test_earliest_stop_string_counts(tiny):
    model = tiny("llama")
    text = model.generate(PROMPTS[:1], max_tokens=10)[0][0].text

    cut = model.generate(PROMPTS[:1], max_tokens=10, stop=[text[3:], text[2:]])[0][0]

    assert cut.text == text[: text.index(text[2:])]


def test_token_limit_ends_a_text(tiny):
    completion = tiny("llama").generate(PROMPTS[:1], max_tokens=3)[0][0]

    assert (completion.finish, len(completion.token_ids)) == ("length", 3)


def test_end_of_text_ends_a_text_and_is_not_in_it(tiny):
    model = tiny("llama")
    row = model.structure.unembedding.weight[1] / model.structure.final_norm.weight
    end_now = Steering(Intervention({Site(2): Replace(row)}))

    ended, plain = model.generate(PROMPTS[:1], [end_now, UNSTEERED], max_tokens=4)

    assert (ended[0].finish, ended[0].text, ended[0].token_ids) == ("end", "", (1,))
    assert len(plain[0].token_ids) == 4  # the other row of the batch goes on


def test_conversation_is_continued_through_its_template(tiny):
    model = tiny("llama", chat=True)
    conversation = (Message("user", "the sea"),)

    chat = model.generate([conversation], max_tokens=5)[0][0]

    plain = model.generate(["<bos><|user|>the sea<eos><|assistant|>"], max_tokens=5)[0][0]
    assert chat == plain


def test_same_prompt_twice_gives_the_same_text_twice(tiny, push):
    model = tiny("llama")

    line = model.generate(["The answer is"] * 2, [push(model, 1)], max_tokens=4)[0]

    assert line[0] == line[1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_overflow_is_refused_rather_than_spelled_out(tiny, temperature):
    model = tiny("llama")
    flood = Steering(Intervention({Site(1): Add(torch.ones(32))}), math.inf)

    with pytest.raises(SteeringFault, match=r"not finite: .* overflowed torch\.float32"):
        model.generate(PROMPTS, [flood], temperature=temperature, max_tokens=2)


def test_half_precision_generates(tiny, push):
    model = tiny("gemma3", dtype=torch.bfloat16)

    lines = model.generate(PROMPTS, [UNSTEERED, push(model, 1)], max_tokens=5)

    assert all(len(c.token_ids) == 5 or c.finish == "end" for line in lines for c in line)
    assert all(math.isfinite(x) for line in lines for c in line for x in c.log_probs)


UNEVEN = [
    "",  # BOS alone
    "The answer is",
    "Question: what does the sea look like? Answer: it is calm, clear and blue (A) or",
]
SCOPES = ("all", "prompt", "last", "from_last_prompt", "generated", "first_1", "at_0")


@KINDS
def test_all_scopes_in_one_call_equal_the_slow_obvious_way(tiny, push, family):
    """Late scopes share what is read of a prompt; early ones read it on their own."""
    model = tiny(family)
    under = [UNSTEERED, *(push(model, 0, tokens=scope, dose=2.0) for scope in SCOPES)]
    under += [push(model, 2, "mlp", tokens="last"), push(model, 1, tokens="all", seed=3)]

    assert_equals_naive(model, UNEVEN, under, max_tokens=4)


@KINDS
def test_log_probs_of_a_mixed_call_equal_the_slow_obvious_way(tiny, push, family):
    model = tiny(family)
    under = [UNSTEERED, *(push(model, 1, tokens=s) for s in ("all", "last", "generated"))]

    lines = model.generate(UNEVEN, under, max_tokens=4)

    for steering, line in zip(under, lines, strict=True):
        for prompt, completion in zip(UNEVEN, line, strict=True):
            ids = model.encoder.prompt_ids(prompt)
            whole = [*ids, *completion.token_ids]
            log_dist = naive_logits(model, whole, len(ids), steering).log_softmax(-1)
            expected = [
                float(log_dist[t - 1, whole[t]]) for t in range(len(ids), len(whole))
            ]
            assert completion.log_probs == pytest.approx(expected, abs=1e-4)


def rows_of_calls(model, monkeypatch):
    """Rows x columns of each decoding call from now on."""
    shapes, call = [], model.engine.forward.logits

    def count(ids, *rest):
        shapes.append(tuple(ids.shape))
        return call(ids, *rest)

    monkeypatch.setattr(model.engine.forward, "logits", count)
    return shapes


def test_a_prompt_is_read_once_for_all_late_steerings(tiny, push, monkeypatch):
    model = tiny("llama")
    late = [push(model, 1, tokens=s, dose=d) for s in SCOPES[2:5] for d in (1.0, 2.0)]
    shapes = rows_of_calls(model, monkeypatch)
    longest = len(model.encoder.prompt_ids(UNEVEN[-1]))

    model.generate(UNEVEN, [UNSTEERED, *late], max_tokens=3)

    assert shapes[0] == (3, longest - 1)  # three prompts, without their last tokens
    assert shapes[1:] == [(3 * 7, 1)] * 3


def test_stop_strings_end_each_row_on_its_own(tiny, push):
    model = tiny("llama")
    under = [UNSTEERED, push(model, 1), push(model, 1, tokens="last", seed=2)]
    whole = model.generate(UNEVEN, under, max_tokens=8)
    stop = [whole[1][1].text[2:4], whole[0][2].text[3:5]]

    cut = model.generate(UNEVEN, under, max_tokens=8, stop=stop)

    finishes = set()
    for line, uncut in zip(cut, whole, strict=True):
        for one, other in zip(line, uncut, strict=True):
            places = [other.text.index(s) for s in stop if s in other.text]
            assert one.text == other.text[: min(places, default=None)]
            assert (one.finish == "stop") == bool(places)
            assert one.token_ids == other.token_ids[: len(one.token_ids)]
            finishes.add(one.finish)
    assert finishes == {"stop", "length"}


@KINDS
def test_sampled_texts_do_not_depend_on_the_batch(tiny, push, family):
    model, frugal = tiny(family), tiny(family, budget=MemoryBudget(tokens=8))
    under = [UNSTEERED, *(push(model, 1, tokens=s) for s in ("all", "last", "generated"))]
    options = {"max_tokens": 5, "temperature": 1.3, "top_p": 0.9, "seed": 5}

    together = model.generate(UNEVEN, under, **options)

    narrow = frugal.generate(UNEVEN[::-1], under[::-1], **options)
    for s, steering in enumerate(under):
        for k, prompt in enumerate(UNEVEN):
            alone = model.generate([prompt], [steering], **options)[0][0]
            assert together[s][k].token_ids == alone.token_ids
            assert narrow[-1 - s][-1 - k].token_ids == alone.token_ids


def test_equal_prompts_of_different_steerings_draw_the_same_numbers(tiny, push):
    """So that two steerings differ by what they do and not by luck."""
    model = tiny("llama")
    faint = [push(model, 1, tokens="last", dose=1e-6), push(model, 1, dose=1e-6)]

    lines = model.generate(
        UNEVEN, [UNSTEERED, *faint], max_tokens=6, temperature=1.0, seed=8
    )

    texts = [[completion.token_ids for completion in line] for line in lines]
    assert texts[0] == texts[1] == texts[2]


@given(
    room=st.integers(1, 12),
    portions=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    picks=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=5),
)
def test_a_roomy_cache_holds_what_the_usual_one_holds(room, portions, picks):
    """Also when rows are selected in between, and past its room."""
    config = LlamaConfig(num_hidden_layers=2, hidden_size=8, num_attention_heads=2)
    ours, usual = roomy_cache(config, room), DynamicCache(config=config)
    generator = torch.Generator().manual_seed(room)
    rows = 2

    for number, size in enumerate(portions):
        for block in (0, 1):
            new = torch.randn(2, rows, 2, size, 4, generator=generator)
            found = ours.update(new[0].clone(), new[1].clone(), block)
            expected = usual.update(new[0].clone(), new[1].clone(), block)
            assert all(map(torch.equal, found, expected))
        assert (
            ours.get_seq_length() == usual.get_seq_length() == sum(portions[: number + 1])
        )
        if number < len(picks):
            index = torch.tensor([pick % rows for pick in picks[number]])
            rows = len(index)
            ours.batch_select_indices(index)
            usual.batch_select_indices(index)


def test_no_prompt_gives_no_text(tiny):
    assert tiny("llama").generate([], [UNSTEERED, UNSTEERED]) == [[], []]
