"""Tokens are drawn as the model says, by a generator that each prompt has to itself."""

import math

import pytest

from seatrial.errors import BadOption
from seatrial.steering.intervention import UNSTEERED
from seatrial.testing import naive_logits

PROMPTS = [
    "I would rather walk to",
    "The answer is",
    "Question: what does the sea look like?",
]


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_seed_decides_the_text_alone_and_in_a_batch(tiny, push, family):
    model = tiny(family)
    options = {"max_tokens": 8, "temperature": 1.0}
    under = [UNSTEERED, push(model, 1)]

    together = model.generate(PROMPTS, under, **options, seed=3)
    again = model.generate(PROMPTS[::-1], under, **options, seed=3)
    other = model.generate(PROMPTS, under, **options, seed=4)

    for s, steering in enumerate(under):
        for k, prompt in enumerate(PROMPTS):
            alone = model.generate([prompt], [steering], **options, seed=3)[0][0]
            assert together[s][k].token_ids == again[s][-1 - k].token_ids == alone.token_ids
            assert other[s][k].token_ids != alone.token_ids


def test_sampling_follows_the_distribution(tiny):
    """The most likely first token comes about as often as the model says."""
    model = tiny("llama")
    ids = model.encoder.prompt_ids("The answer is")
    p = naive_logits(model, ids, len(ids), UNSTEERED)[-1].mul(2).softmax(-1)
    expected, top = float(p.max()), int(p.argmax())

    first = [
        model.generate(["The answer is"], max_tokens=1, temperature=0.5, seed=seed)[0][0]
        for seed in range(200)
    ]

    share = sum(completion.token_ids[0] == top for completion in first) / 200
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 200)
    assert len({completion.token_ids for completion in first}) > 5


def test_tiny_nucleus_is_greedy(tiny):
    model = tiny("llama")

    greedy = model.generate(PROMPTS, max_tokens=6)
    nucleus = model.generate(PROMPTS, max_tokens=6, temperature=1.0, top_p=1e-6)

    assert [c.token_ids for c in nucleus[0]] == [c.token_ids for c in greedy[0]]


def test_nucleus_leaves_out_the_tail(tiny):
    model = tiny("llama")
    ids = model.encoder.prompt_ids("The answer is")
    p = naive_logits(model, ids, len(ids), UNSTEERED)[-1].softmax(-1)
    ordered, index = p.sort(descending=True)
    kept = set(index[: int((ordered.cumsum(-1) < 0.05).sum()) + 1].tolist())

    seen = {
        model.generate(
            ["The answer is"], max_tokens=1, temperature=1.0, top_p=0.05, seed=seed
        )[0][0].token_ids[0]
        for seed in range(60)
    }

    assert len(seen) > 1
    assert seen <= kept
    assert len(kept) < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({"temperature": -1.0}, r"temperature must be at least 0 .* not -1\.0"),
        ({"temperature": math.nan}, "temperature must be at least 0 .* not nan"),
        ({"top_p": 0.0}, r"top_p in \(0, 1\], not 0\.0 and 0\.0"),
        ({"top_p": 1.5}, r"top_p in \(0, 1\], not 0\.0 and 1\.5"),
        ({"stop": [""]}, "an empty stop string would end every text"),
    ],
)
def test_option_out_of_range_is_refused(tiny, options, message):
    with pytest.raises(BadOption, match=message):
        tiny("llama").generate(PROMPTS, **options)
