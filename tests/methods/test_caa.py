"""CAA is the difference of means: of the right tokens, at the right place, once."""

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods import CAA, Random, Shuffled
from seatrial.model import SELECTORS
from seatrial.steering.compare import STATE_NORMS
from seatrial.steering.intervention import SCOPES, UNSTEERED, Steering
from seatrial.testing import tiny_model
from seatrial.types import FitData, Message, Pair, Request, Site, Text

SIDES = [
    (Text("The sea is", " calm (A)"), Text("The sea", " is rough and grey (B)")),
    (Text("What is it? A", " walk on the shore (B)"), Text("What is it? A", " train (A)")),
    (Text("I would", " rather wait (A)"), Text("I", " would run (B)")),
]


@pytest.fixture
def data():
    return as_data(SIDES)


def as_data(sides):
    pairs = tuple(Pair(f"p{k}", f"g{k}", *both) for k, both in enumerate(sides))
    return FitData("calm", pairs, fingerprint="made by hand")


def states(model, text, layer):
    """A text's ids and the output of a block on them, by a plain hook on a plain call."""
    ids = model.encoder.tokenizer(text.prompt + text.completion).input_ids
    kept = []
    hook = model.structure.blocks[layer].module.register_forward_hook(
        lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.inference_mode():
        model.engine.network(input_ids=torch.tensor([ids]))
    hook.remove()
    return ids, kept[0].reshape(len(ids), -1)


def naive_difference(model, data, layer, token):
    """The definition, one text at a time: mean(h+) - mean(h-)."""
    means = []
    for side in ("positive", "negative"):
        rows = []
        for pair in data.pairs:
            _, h = states(model, getattr(pair, side), layer)
            rows.append(h[token])
        means.append(torch.stack(rows).double().mean(0))
    return (means[0] - means[1]).float()


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("layer", [0, 2])
def test_it_is_the_naive_difference_of_means(data, family, layer):
    model = tiny_model(family)

    fitted = CAA(layer=layer).fit(model, data, seed=0)

    # As exact as two ways to run a model: the naive one uses another library's products.
    naive = naive_difference(model, data, layer, -1)
    torch.testing.assert_close(vector_of(fitted), naive, atol=1e-5, rtol=0)


def test_padding_beside_other_texts_does_not_move_it(tiny, data):
    model = tiny("llama")

    fitted = CAA(layer=1).fit(model, data, seed=0)

    torch.testing.assert_close(
        vector_of(fitted), naive_difference(model, data, 1, -1), rtol=1e-5, atol=1e-6
    )


def test_the_order_of_the_pairs_cannot_be_seen(tiny, data):
    backwards = as_data(SIDES[::-1])

    one, other = (CAA(layer=1).fit(tiny("llama"), d, seed=0) for d in (data, backwards))

    assert torch.equal(vector_of(one), vector_of(other))


def test_swapping_all_pairs_negates_it_bit_for_bit(tiny, data):
    swapped = as_data([both[::-1] for both in SIDES])

    one, other = (CAA(layer=1).fit(tiny("llama"), d, seed=0) for d in (data, swapped))

    assert torch.equal(vector_of(one), -vector_of(other))


def test_the_seed_does_not_matter(tiny, data):
    one, other = (CAA(layer=1).fit(tiny("llama"), data, seed=seed) for seed in (0, 1))

    assert torch.equal(vector_of(one), vector_of(other))


def test_a_constant_in_all_activations_cancels(data):
    plain, shifted = tiny_model("gpt2"), tiny_model("gpt2")
    constant = torch.linspace(-3, 3, plain.d_model)
    with torch.no_grad():
        # The MLP's bias is added to the block's output at every token.
        shifted.engine.network.transformer.h[1].mlp.c_proj.bias += constant

    one, other = (CAA(layer=1).fit(model, data, seed=0) for model in (plain, shifted))

    text = data.pairs[0].positive
    moved = states(shifted, text, 1)[1] - states(plain, text, 1)[1]
    torch.testing.assert_close(moved, constant.expand_as(moved), rtol=0, atol=1e-5)
    torch.testing.assert_close(vector_of(one), vector_of(other), rtol=0, atol=1e-5)


def expected_reading(model, text, read):
    """What a selector should read, from the tokens of the whole text."""
    ids, h = states(model, text, 1)
    n_prompt = len(model.encoder.tokenizer(text.prompt).input_ids)
    return {
        "last": h[-1],
        "second_last": h[-2],
        "last_prompt": h[n_prompt - 1],
        "completion": h[n_prompt:].mean(0),
        "mean": h[ids[0] == model.encoder.tokenizer.bos_token_id :].mean(0),
    }[read]


@pytest.mark.parametrize("bos", [True, False], ids=["with BOS", "without BOS"])
@pytest.mark.parametrize("read", SELECTORS)
def test_every_read_option_reads_its_token(tiny, data, read, bos):
    model = tiny("llama", bos=bos)
    if read == "last_prompt":
        data = as_data([(Text("The sea", " is"), Text("A train", " is"))])

    fitted = CAA(layer=1, read=read).fit(model, data, seed=0)

    positive, negative = (
        torch.stack(
            [expected_reading(model, getattr(p, side), read) for p in data.pairs]
        ).mean(0)
        for side in ("positive", "negative")
    )
    torch.testing.assert_close(vector_of(fitted), positive - negative, rtol=1e-5, atol=1e-6)


def test_the_second_last_token_of_a_lettered_answer_is_the_letter(tiny, data):
    model = tiny("llama")

    for pair in data.pairs:
        for text in (pair.positive, pair.negative):
            ids = states(model, text, 1)[0]
            assert model.encoder.tokenizer.decode(ids[-2:]) in ("A)", "B)")


def test_all_read_options_differ(tiny, data):
    vectors = [
        vector_of(CAA(layer=1, read=read).fit(tiny("llama"), data, seed=0))
        for read in SELECTORS
    ]

    for k, one in enumerate(vectors):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in vectors[k + 1 :])


@pytest.mark.parametrize("scope", [*SCOPES, "first_3"])
@pytest.mark.parametrize(
    "wrap", [lambda m: m, Random, Shuffled], ids=["caa", "random", "shuffled"]
)
def test_every_token_scope_is_passed_on(tiny, data, scope, wrap):
    fitted = wrap(CAA(layer=1, tokens=scope)).fit(tiny("llama"), data, seed=0)

    assert fitted.tokens == scope


def test_an_unknown_token_scope_is_refused_with_the_choices(tiny, data):
    with pytest.raises(
        BadOption, match=r"'first' is no token scope; choose one of all, prompt"
    ):
        CAA(layer=1, tokens="first").fit(tiny("llama"), data, seed=0)


@pytest.mark.parametrize(
    ("layer", "block"), [("first", 0), ("middle", 1), ("last", 2), (0, 0), (1, 1), (2, 2)]
)
def test_layers_have_names_and_numbers(tiny, data, layer, block):
    fitted = CAA(layer=layer).fit(tiny("llama"), data, seed=0)

    assert list(fitted.edits) == [Site(block, "resid")]


@pytest.mark.parametrize("layer", [3, -1])
def test_a_layer_that_does_not_exist_is_refused_with_the_choices(tiny, data, layer):
    with pytest.raises(
        BadOption, match=rf"layer {layer} does not exist .* its layers are 0 to 2"
    ):
        CAA(layer=layer).fit(tiny("llama"), data, seed=0)


def test_dose_one_adds_the_vector_once(tiny, data):
    """Early CAA code added it twice (trap T27)."""
    model = tiny("llama")
    fitted = CAA(layer="last", tokens="all").fit(model, data, seed=0)
    request = Request("one", "one", "The sea is", (" calm",))

    [[answer]] = model.log_probs([request], [Steering(fitted, 1.0)])

    text = Text(request.prompt, request.answers[0])
    ids, h = states(model, text, 2)
    network = model.engine.network
    with torch.inference_mode():
        logits = network.lm_head(network.model.norm(h + vector_of(fitted)))
    n = len(answer.log_probs[0])
    expected = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids)[1:, None])[-n:, 0]
    torch.testing.assert_close(
        torch.tensor(answer.log_probs[0]), expected, rtol=1e-5, atol=1e-5
    )


def test_it_remembers_where_it_was_fitted(tiny, data):
    model = tiny("llama")

    origin = CAA(layer=1, read="mean").fit(model, data, seed=5).origin

    assert (origin.model, origin.method, origin.data, origin.seed) == (
        model.identity, "caa", "made by hand", 5,
    )  # fmt: skip
    told = {"layer": 1, "read": "mean", "tokens": "from_last_prompt"}
    assert {k: v for k, v in origin.options.items() if k != STATE_NORMS} == told


def test_its_vector_is_finite_and_float32_on_a_bfloat16_model(data):
    model = tiny_model("llama", dtype=torch.bfloat16)

    vector = vector_of(CAA(layer=1).fit(model, data, seed=0))

    assert vector.dtype == torch.float32
    assert bool(vector.isfinite().all()) and float(vector.norm()) > 0


def test_conversations_are_read_through_the_chat_template(tiny):
    model = tiny("llama", chat=True)
    talk = (Message("user", "Would you wait?"),)
    data = as_data([(Text(talk, "Yes"), Text(talk, "No"))])

    fitted = CAA(layer=1).fit(model, data, seed=0)

    rendered = "<bos><|user|>Would you wait?<eos><|assistant|>"
    ids = [
        model.encoder.tokenizer(rendered + word, add_special_tokens=False).input_ids
        for word in ("Yes", "No")
    ]
    with torch.inference_mode():
        yes, no = (
            model.engine.network(input_ids=torch.tensor([i]), output_hidden_states=True)
            .hidden_states[2][0, -1]
            for i in ids
        )  # fmt: skip
    torch.testing.assert_close(vector_of(fitted), yes - no, rtol=1e-5, atol=1e-5)


def test_no_pairs_are_refused(tiny):
    with pytest.raises(BadData, match=r"'caa' learns from pairs, and .* has none; give"):
        CAA().fit(tiny("llama"), as_data([]), seed=0)


def test_a_pair_with_equal_sides_is_refused_by_name(tiny, data):
    same = Pair("twin", "g", Text("The sea", " is"), Text("The sea", " is"))

    with pytest.raises(BadData, match="pair 'twin' has the same text on both sides"):
        CAA().fit(tiny("llama"), FitData("calm", (*data.pairs, same)), seed=0)


def test_a_text_without_the_token_to_read_is_refused(tiny):
    data = as_data([(Text("The sea", ""), Text("A train", ""))])

    with pytest.raises(BadData, match="has no token at 'completion'"):
        CAA(read="completion").fit(tiny("llama"), data, seed=0)


def test_a_vector_of_zeros_is_refused_when_used(tiny):
    """Both sides have one prompt, so their last prompt tokens do not differ."""
    data = as_data([(Text("The sea", " is calm"), Text("The sea", " is rough"))])
    fitted = CAA(layer=1, read="last_prompt").fit(tiny("llama"), data, seed=0)

    assert float(vector_of(fitted).norm()) == 0
    with pytest.raises(RuntimeError, match="changed nothing at all; its vector is zero"):
        tiny("llama").log_probs(
            [Request("r", "r", "So", (" it goes",))], [UNSTEERED, Steering(fitted)]
        )
