"""The model's door: it takes what belongs to it and reads what it is asked."""

import pytest
import torch

from seatrial.errors import BadOption, ForeignIntervention, UnsupportedModel
from seatrial.files import cache_folder
from seatrial.model import MODELS, MemoryBudget, Model
from seatrial.model.structure.hooks import reading
from seatrial.steering.edits import Add
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.testing import FAMILIES, naive_greedy, naive_log_probs
from seatrial.types import Message, Origin, Request, Site, Text

TEXTS = [
    Text("I would rather walk to", " the station"),
    Text("", " the sea"),
    Text("Question: what does the sea look like today? Answer:", " (A)"),
]
REQUESTS = [
    Request("a", "a", "The answer is", (" yes", " no")),
    Request("b", "b", "What does the sea look like?", (" It is calm and blue.", " Rough")),
]


def add(width=32, layer=1, **parts):
    return Intervention({Site(layer): Add(torch.ones(width))}, **parts)


def origin(model):
    return Origin(model, 32, "caa", {}, "data", 0)


def test_layers_have_names_and_numbers(tiny):
    model = tiny("llama")

    found = [model.site(layer).layer for layer in ("first", "middle", "last", 0, 2)]

    assert found == [0, 1, 2, 0, 2]
    assert model.site(1, "mlp") == Site(1, "mlp")


@pytest.mark.parametrize("layer", [40, 3, -1])
def test_missing_layer_says_which_exist(tiny, layer):
    message = (
        rf"layer {layer} does not exist in 'tiny-llama-0'; its layers are 0 to 2, .*"
        "Negative layers are refused: a saved intervention must mean one thing"
    )

    with pytest.raises(BadOption, match=message):
        tiny("llama").site(layer)


def test_steering_of_another_model_is_refused(tiny):
    model = tiny("llama")
    foreign = add(origin=origin("other (folder, 0123456789ab)"))

    with pytest.raises(
        ForeignIntervention, match=r"fitted on other \(folder, .* fit it again"
    ):
        model.log_probs(REQUESTS, [Steering(foreign)])
    with pytest.raises(ForeignIntervention, match="but the model is tiny-llama-0"):
        model.generate(["The answer"], [UNSTEERED, Steering(foreign)])


def test_steering_of_another_seed_is_refused(tiny):
    foreign = add(origin=origin(tiny("llama", seed=1).identity))

    with pytest.raises(ForeignIntervention, match="fitted on tiny-llama-1"):
        tiny("llama").log_probs(REQUESTS, [Steering(foreign)])


def test_steering_of_this_model_is_accepted(tiny):
    model = tiny("llama")

    model.check(add(origin=origin(model.identity)))
    model.check(add())


def test_steering_of_another_width_is_refused(tiny):
    with pytest.raises(
        ForeignIntervention, match=r"1\.resid is 48 wide, but .* is 32 wide"
    ):
        tiny("llama").log_probs(REQUESTS, [Steering(add(width=48))])


def test_heads_have_a_width_of_their_own(tiny):
    wide = Intervention({Site(1, "heads"): Add(torch.ones(48))})

    tiny("qwen3").check(wide)
    with pytest.raises(
        ForeignIntervention, match=r"1\.heads is 48 wide, but .* is 32 wide"
    ):
        tiny("llama").check(wide)


def test_steering_at_a_missing_layer_is_refused_even_at_dose_zero(tiny):
    with pytest.raises(BadOption, match="layer 7 does not exist"):
        tiny("llama").log_probs(REQUESTS, [Steering(add(layer=7), 0.0)])


def test_steering_at_a_missing_site_is_refused(tiny):
    with pytest.raises(
        UnsupportedModel, match=r"block 0 of 'tiny-lfm2-0' has no 'attn' site"
    ):
        tiny("lfm2").check(Intervention({Site(0, "attn"): Add(torch.ones(32))}))


def read_alone(model, text, sites, span):
    """The mean state over a span of one unpadded text."""
    found = {}
    ids = torch.tensor([model.encoder.encode_text(text).ids])
    with torch.inference_mode(), reading(model.structure, sites, found.__setitem__):
        model.engine.network(input_ids=ids, use_cache=False)
    return {site: h[0, span[0] : span[1]].mean(0) for site, h in found.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_equal_reading_one_text_at_a_time(tiny, family):
    model = tiny(family)
    points = [p for p in ("attn", "mlp", "heads") if getattr(model.structure.blocks[1], p)]
    sites = [Site(0), Site(2), *(Site(1, point) for point in points)]

    for at in ("last", "completion", "mean"):
        found = model.activations(TEXTS, sites, at)

        for k, text in enumerate(TEXTS):
            span = model.encoder.read_span(model.encoder.encode_text(text), at)
            expected = read_alone(model, text, sites, span)
            for site in sites:
                torch.testing.assert_close(
                    found[site][k], expected[site], atol=1e-5, rtol=1e-4
                )


def test_activations_depend_neither_on_the_order_of_texts_nor_on_the_budget(tiny):
    model, frugal = tiny("llama"), tiny("llama", budget=MemoryBudget(tokens=20))

    there = model.activations(TEXTS, [Site(1)], "mean")[Site(1)]

    back = model.activations(TEXTS[::-1], [Site(1)], "mean")[Site(1)]
    narrow = frugal.activations(TEXTS, [Site(1)], "mean")[Site(1)]
    torch.testing.assert_close(there, back.flip(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(there, narrow, atol=1e-5, rtol=0)


def test_activations_are_float32_in_half_precision_too(tiny):
    states = tiny("llama", dtype=torch.bfloat16).activations(TEXTS, [Site(1)], "last")[
        Site(1)
    ]

    assert (states.dtype, states.shape) == (torch.float32, (3, 32))
    expected = tiny("llama").activations(TEXTS, [Site(1)], "last")[Site(1)]
    assert torch.cosine_similarity(states, expected).min() > 0.99


def test_activations_of_no_text_are_empty(tiny):
    assert tiny("llama").activations([], [Site(1)], "last")[Site(1)].shape == (0, 32)


def test_activations_are_unsteered_after_steering(tiny):
    model = tiny("llama")
    before = model.activations(TEXTS, [Site(1)], "last")[Site(1)]

    model.log_probs(REQUESTS, [Steering(add())])

    assert torch.equal(model.activations(TEXTS, [Site(1)], "last")[Site(1)], before)


def test_header_tells_models_apart_and_stays_the_same(tiny):
    one, again = tiny("llama").header(), tiny("llama").header()

    other = tiny("llama", seed=1).header()
    assert one == again
    assert one["logit fingerprint"] != other["logit fingerprint"]
    assert one["model"] == tiny("llama").identity
    assert (one["dtype"], one["layers"], one["d_model"]) == ("float32", 3, 32)
    assert tiny("llama", dtype=torch.bfloat16).header()["dtype"] == "bfloat16"


def test_header_is_the_same_after_steering(tiny):
    model = tiny("gemma3")
    before = model.header()

    model.log_probs(REQUESTS, [Steering(add())])

    assert model.header() == before


def test_audit_is_that_of_the_tokens(tiny):
    listed = tiny("llama").where(REQUESTS[0], add(tokens="last"))

    assert [(t.token, t.answer, t.predicts_scored) for t in listed] == [
        (" is", 0, True),
        (" is", 1, True),
    ]


@pytest.fixture(scope="module")
def smollm2():
    folder = cache_folder("models") / "smollm2-135m-registry"
    if not (folder / "seatrial.json").is_file():
        pytest.skip(
            "smollm2-135m is not in the cache; 'seatrial pull smollm2-135m' puts it there"
        )
    return Model.load("smollm2-135m")


def test_real_model_has_these_tokens(smollm2):
    question = Request("q", "q", (Message("user", "Is it calm?"),), ("Yes", "No"))

    plain = smollm2.encoder.encode("Answer:", (" Yes", " No"))
    chat = smollm2.encoder.encode(question.prompt, question.answers)

    assert smollm2.encoder.prefix == ()  # no BOS
    assert [len(text.scored) for text in (*plain, *chat)] == [1, 1, 1, 1]
    decode = smollm2.encoder.tokenizer.decode
    assert decode(plain[0].scored) == " Yes"
    assert decode(chat[0].scored) == "Yes"
    assert decode(chat[0].ids[: chat[0].n_prompt]).endswith("<|im_start|>assistant\n")
    assert "smollm2-135m" in MODELS and smollm2.n_layers == 30


def test_real_model_equals_the_slow_obvious_way(smollm2, push):
    question = Request(
        "q", "q", (Message("user", "Is the sea calm?"),), ("Yes", "No, it is")
    )
    requests = [*REQUESTS, question]
    under = [
        UNSTEERED,
        push(smollm2, 15, dose=2.0),
        push(smollm2, 10, "attn", tokens="from_last_prompt", dose=2.0),
    ]

    fast = smollm2.log_probs(requests, under)

    slow = naive_log_probs(smollm2, requests, under)
    for line, expected in zip(fast, slow, strict=True):
        for answer, wanted in zip(line, expected, strict=True):
            for tokens, others in zip(answer.log_probs, wanted, strict=True):
                assert tokens == pytest.approx(others.tolist(), abs=1e-4)
    assert fast[0] != fast[1] != fast[2]


def test_real_model_generates_the_slow_obvious_text(smollm2, push):
    prompt = (Message("user", "Name a colour."),)
    steering = push(smollm2, 15, tokens="from_last_prompt", dose=2.0)

    completion = smollm2.generate([prompt], [steering], max_tokens=6)[0][0]

    ids = smollm2.encoder.prompt_ids(prompt)
    expected = naive_greedy(smollm2, ids, steering, 6)
    assert list(completion.token_ids) == expected[: len(completion.token_ids)]
