"""Readings are remembered where that is safe, and only there."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from seatrial.errors import BadData
from seatrial.methods.fitting.contrast import contrast
from seatrial.model import SELECTORS, MemoryBudget
from seatrial.testing import tiny_model
from seatrial.types import Message, Pair, Site, Text


def make_pairs(word="calm", n=3):
    return [
        Pair(
            f"p{k}",
            f"g{k}",
            Text(f"The sea {k}", f" is {word}."),
            Text(f"The sea {k}", " is rough."),
        )
        for k in range(n)
    ]


def swap(pairs):
    return [Pair(p.id, p.group, p.negative, p.positive) for p in pairs]


READING = 6 * 3 * 32 * 4
"""Bytes of six texts at three blocks, 32 wide."""


@pytest.fixture
def watched(monkeypatch):
    """A model that keeps four readings, and a list that grows with every one of them."""
    model = tiny_model("llama", budget=MemoryBudget(reading_bytes=4 * READING))
    read, readings = model.activations, []

    def counting(texts, sites, at):
        readings.append((tuple(texts), tuple(sites), at))
        return read(texts, sites, at)

    monkeypatch.setattr(model, "activations", counting)
    return model, readings


def test_rows_stand_in_the_order_of_the_pairs(tiny):
    model, pairs = tiny("llama"), make_pairs(n=4)

    positive, negative = contrast(model, pairs, Site(1), "last")

    for rows, side in ((positive, "positive"), (negative, "negative")):
        texts = [getattr(pair, side) for pair in pairs]
        assert rows.shape == (4, model.d_model)
        torch.testing.assert_close(
            rows, model.activations(texts, [Site(1)], "last")[Site(1)]
        )


def test_swapped_and_permuted_labels_reuse_the_reading(watched):
    model, readings = watched
    pairs = make_pairs()

    positive, negative = contrast(model, pairs, Site(1), "last")
    swapped = contrast(model, swap(pairs), Site(1), "last")
    reordered = contrast(model, pairs[::-1], Site(1), "last")

    assert len(readings) == 1
    assert torch.equal(swapped[0], negative) and torch.equal(swapped[1], positive)
    assert torch.equal(reordered[0], positive.flip(0))


def test_all_blocks_come_out_of_one_reading(watched):
    model, readings = watched

    found = [contrast(model, make_pairs(), Site(layer), "last")[0] for layer in range(3)]

    assert len(readings) == 1
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])


def test_another_position_other_texts_and_other_sites_are_read_anew(watched):
    model, readings = watched

    contrast(model, make_pairs(), Site(1), "last")
    contrast(model, make_pairs(), Site(1), "mean")
    contrast(model, make_pairs("clear"), Site(1), "last")
    contrast(model, make_pairs(), Site(1, "mlp"), "last")
    contrast(model, make_pairs(), Site(1, "heads"), "last")

    assert len(readings) == 5


def test_a_repeated_text_is_read_once(watched):
    model, readings = watched
    one, two, three = make_pairs()

    contrast(model, [one, two, three, one], Site(1), "last")

    [(texts, _, _)] = readings
    assert len(texts) == len(set(texts)) == 6


def test_what_is_remembered_equals_what_is_read(tiny):
    model, pairs = tiny("llama"), make_pairs()
    contrast(model, pairs, Site(0), "last")

    remembered = contrast(model, swap(pairs), Site(0), "last")

    fresh = contrast(tiny_model("llama"), swap(pairs), Site(0), "last")
    assert torch.equal(remembered[0], fresh[0]) and torch.equal(remembered[1], fresh[1])


def test_changing_a_result_does_not_change_the_next(tiny):
    model, pairs = tiny("llama"), make_pairs()
    positive, _ = contrast(model, pairs, Site(1), "last")
    expected = positive.clone()

    positive.zero_()

    assert torch.equal(contrast(model, pairs, Site(1), "last")[0], expected)


def test_models_do_not_share_their_memory():
    """Even where they call themselves the same."""
    one, other = tiny_model("llama", seed=0), tiny_model("llama", seed=1)
    other.card = one.card

    first, second = (
        contrast(model, make_pairs(), Site(1), "last")[0] for model in (one, other)
    )

    assert one.identity == other.identity
    assert not torch.allclose(first, second)


def test_the_memory_does_not_keep_a_model_alive():
    model = tiny_model("llama")
    contrast(model, make_pairs(), Site(1), "last")
    alive = weakref.ref(model)

    del model
    gc.collect()

    assert alive() is None


def test_the_memory_is_bounded(watched):
    model, readings = watched
    words = [f"calm {k}" for k in range(8)]
    for word in words:
        contrast(model, make_pairs(word), Site(1), "last")

    for word in words[-4:]:
        contrast(model, make_pairs(word), Site(1), "last")
    assert len(readings) == 8, "the latest four are kept"

    contrast(model, make_pairs(words[0]), Site(1), "last")
    assert len(readings) == 9, "the first is gone"


def test_what_was_not_used_for_longest_is_forgotten_first(watched):
    model, readings = watched
    for word in ("one", "two", "three", "four", "one", "five"):
        contrast(model, make_pairs(word), Site(1), "last")
    assert len(readings) == 5

    contrast(model, make_pairs("one"), Site(1), "last")
    assert len(readings) == 5, "used a second time, so it stayed when five came"

    contrast(model, make_pairs("two"), Site(1), "last")
    assert len(readings) == 6


def test_a_reading_that_failed_is_tried_again(watched, monkeypatch):
    model, readings = watched
    reads = model.activations

    def out_of_memory(*_):
        raise MemoryError

    monkeypatch.setattr(model, "activations", out_of_memory)
    with pytest.raises(MemoryError):
        contrast(model, make_pairs(), Site(1), "last")
    monkeypatch.setattr(model, "activations", reads)
    contrast(model, make_pairs(), Site(1), "last")

    assert len(readings) == 1


def test_a_text_without_the_token_is_refused_before_it_is_read(watched):
    model, readings = watched
    bad = [Pair("p", "g", Text("The sea", ""), Text("A train", ""))]

    with pytest.raises(BadData, match="has no token at 'completion'"):
        contrast(model, bad, Site(1), "completion")
    assert not readings


TALK = (Message("user", "Would you wait?"),)
TEXTS = [
    (Text("The sea", " is calm."), {"last": ".", "last_prompt": "ea"}),
    (Text("Which? (B) no (A) yes. Answer:", " (A)"), {"last": ")", "second_last": "A"}),
    (Text("no no", " no no"), {"completion": "no no", "mean": "no no no no"}),
    (Text("Answer: ", "Yes"), {"completion": "Yes"}),
    (Text(TALK, "No, \u00e9t\u00e9"), {"completion": "No, \u00e9t\u00e9"}),
    (Text("The sea", ""), {"last": "ea", "last_prompt": "ea", "mean": "The sea"}),
]


@pytest.mark.parametrize(("bos", "chat"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize(("text", "wanted"), TEXTS)
def test_what_is_read_is_what_the_selector_means(tiny, text, wanted, bos, chat):
    """Told by the words, with and without BOS and behind a chat template."""
    model = tiny("llama", bos=bos, chat=chat)

    for at in SELECTORS:
        if at != "completion" or text.completion:
            said = model.read_tokens(text, at).strip()
            whole = wanted.get(at, "")
            assert said.endswith(whole) if at.startswith("last") else whole in said
    if text.completion:
        assert model.read_tokens(text, "completion").strip() == text.completion.strip()


@pytest.mark.parametrize("bos", [True, False], ids=["with BOS", "without BOS"])
@pytest.mark.parametrize("at", SELECTORS)
@pytest.mark.parametrize("off", [-1, 1])
def test_a_read_that_is_one_token_off_is_caught(tiny, monkeypatch, at, off, bos):
    """What labels computed without BOS, and ids with it, come to (trap T6)."""
    model = tiny_model("llama", bos=bos)
    text = Text("Which is it, (A) or (B)? I say", " it is surely (B)")
    start, stop = model.encoder.read_span(model.encoder.encode_text(text), at)
    total = len(model.encoder.encode_text(text).ids)
    shifted = max(0, start + off), min(total, stop + off)
    monkeypatch.setattr(model.encoder, "read_span", lambda *_: shifted)
    pair = Pair("p", "g", text, Text("Which is it, (A) or (B)? I say", " it is (A)"))

    if shifted == (start, stop):
        pytest.skip("there is no token to be off by")
    with pytest.raises(BadData, match=f"what is read at '{at}' of the text ending in"):
        contrast(model, [pair], Site(1), at)


@pytest.mark.parametrize("at", ["last", "second_last", "completion", "mean"])
@pytest.mark.parametrize("extra", ["eos", "pad"])
def test_a_token_behind_the_text_is_caught(monkeypatch, at, extra):
    """An end-of-text token that a tokenizer adds, or padding taken for text (trap T28)."""
    model = tiny_model("llama")
    added = getattr(model.encoder.tokenizer, f"{extra}_token_id")
    encode = model.encoder.encode_text

    def longer(text):
        whole = encode(text)
        return replace(whole, ids=(*whole.ids, added))

    monkeypatch.setattr(model.encoder, "encode_text", longer)

    with pytest.raises(BadData, match=f"what is read at '{at}' of the text ending in"):
        contrast(model, make_pairs(), Site(1), at)


def test_a_letter_that_shares_its_token_is_no_second_last_token(monkeypatch):
    """Some tokenizers have "A)" as one token; the second last is then the bracket."""
    model = tiny_model("llama")
    text = Text("The sea is", " calm (A)")
    encoded = model.encoder.encode_text(text)
    melted = replace(encoded, ids=encoded.ids[:-1])
    monkeypatch.setattr(model.encoder, "encode_text", lambda _: melted)

    with pytest.raises(BadData, match="should be the letter 'A', but the tokens there"):
        model.read_tokens(text, "second_last")


def test_a_completion_that_melts_into_the_prompt_is_caught(tiny):
    """The answer's span would begin with the prompt's last word."""
    model = tiny("llama")
    whole = model.encoder.tokenizer(" the", add_special_tokens=False).input_ids
    assert len(whole) == 1, "the tokenizer has a token for what is cut in two"

    for at in ("completion", "last_prompt"):
        with pytest.raises(BadData, match=f"what is read at '{at}' of the text ending"):
            model.read_tokens(Text("It was t", "he sea"), at)


def test_no_pairs_are_refused(tiny):
    with pytest.raises(
        BadData,
        match="there are no pairs to fit on; give at least one positive and negative",
    ):
        contrast(tiny("llama"), [], Site(0), "last")


def test_a_pair_with_one_text_on_both_sides_is_refused_by_its_id(tiny):
    pair = Pair("odd-one", "g", Text("The sea", " is."), Text("The sea", " is."))

    with pytest.raises(BadData, match="pair 'odd-one' has the same text on both sides"):
        contrast(tiny("llama"), [*make_pairs(), pair], Site(0), "last")
