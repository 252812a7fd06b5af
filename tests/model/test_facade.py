"""What the rest of the house asks a model, and that it asks nothing else."""

import re
from pathlib import Path

import pytest
import torch

import seatrial
from seatrial.errors import BadData, BadOption, UnsupportedModel
from seatrial.model import Encoded, ModelCard
from seatrial.testing import tiny_model
from seatrial.types import Message, Request, Site, Text

SOURCE = Path(seatrial.__file__).parent
PRIVATE = re.compile(r"\.(engine|encoder|tokenizer|(?<!structure\.)anatomy)\b")


def test_nothing_outside_reaches_into_the_model():
    lines = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in sorted(SOURCE.rglob("*.py"))
        if file.relative_to(SOURCE).parts[0] not in ("model", "testing")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if PRIVATE.search(line)
    ]

    assert lines == []


def test_only_fitting_looks_at_the_structure():
    looking = {
        file.relative_to(SOURCE).parts[:2]
        for file in SOURCE.rglob("*.py")
        if re.search(r"model\.structure\b", file.read_text("utf-8"))
    }

    assert {parts for parts in looking if parts[0] not in ("model", "testing")} <= {
        ("methods", "fitting")
    }


@pytest.mark.parametrize("bos", [True, False])
def test_tokens_are_what_the_model_reads(tiny, bos):
    model = tiny("llama", bos=bos)

    ids = model.tokens("The sea is calm")
    bare = model.tokens("The sea is calm", bare=True)

    assert ids == ((0,) if bos else ()) + bare
    assert model.decode(bare) == "The sea is calm"
    assert model.count("The sea is calm") == len(bare)
    assert model.count("") == 0
    assert model.tokens(Text("The sea", " is calm")) == ids


def test_a_conversation_is_read_by_the_template(tiny):
    talk = (Message("user", "Is it calm?"),)

    assert tiny("llama", chat=True).is_chat
    assert not tiny("llama").is_chat
    chat = tiny("llama", chat=True)
    assert chat.decode(chat.tokens(talk)) == "<bos><|user|>Is it calm?<eos><|assistant|>"


def test_bare_tokens_are_of_plain_text_only(tiny):
    with pytest.raises(BadOption, match="only plain text has bare tokens; give a string"):
        tiny("llama").tokens(Text("The sea", " is"), bare=True)


def test_a_text_without_tokens_is_refused(tiny):
    with pytest.raises(BadData, match="the prompt has no tokens"):
        tiny("llama", bos=False).tokens("")


def test_answer_tokens_say_where_scoring_begins(tiny):
    model = tiny("llama")

    yes, no = model.answer_tokens(Request("a", "a", "The answer is", (" yes", " no")))

    assert isinstance(yes, Encoded)
    assert yes.ids[: yes.n_prompt] == no.ids[: no.n_prompt] == model.tokens("The answer is")
    assert [model.decode(text.scored) for text in (yes, no)] == [" yes", " no"]


def test_special_tokens_have_ids_or_none(tiny):
    assert tiny("llama").special == (0, 1, 2, None)
    assert tiny("llama", bos=False).special.bos is None


def test_heads_are_counted_by_block_and_in_all(tiny):
    assert tiny("llama").n_heads == 12
    assert [tiny("lfm2").heads_in(layer) for layer in range(3)] == [0, 4, 0]
    assert tiny("lfm2").n_heads == 4


@pytest.mark.parametrize(("family", "is_tied"), [("llama", False), ("gemma", True)])
def test_a_model_says_whether_one_matrix_embeds_and_unembeds(tiny, family, is_tied):
    assert tiny(family).is_tied == is_tied


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "gpt2"])
def test_unembedding_the_last_state_gives_the_models_own_logits(tiny, family):
    model = tiny(family)
    ids = torch.tensor([model.tokens("The sea is calm")])
    with torch.inference_mode():
        expected = model.engine.network(input_ids=ids).logits[0, -1:]

    h = model.activations([Text("The sea is calm", "")], [Site(2)], "last")[Site(2)]

    torch.testing.assert_close(model.unembed(h), expected, atol=1e-4, rtol=1e-4)


def test_unembedding_without_the_norm_is_linear(tiny):
    model, v = tiny("llama"), torch.arange(32.0)[None]

    torch.testing.assert_close(
        model.unembed(2 * v, norm="none"), 2 * model.unembed(v, norm="none")
    )


def test_a_norm_that_was_not_found_cannot_be_passed():
    model = tiny_model("llama")
    model.engine.reader.final_norm = None

    with pytest.raises(UnsupportedModel, match="final norm was not found"):
        model.unembed(torch.ones(1, 32))


def test_a_model_shows_what_it_is(tiny):
    text = repr(tiny("lfm2"))

    assert text.startswith("<Model tiny-lfm2-0: source made in memory, fingerprint ")
    for part in ("dtype float32", "device cpu", "blocks 3", "width 32", "0 or 4", "padded"):
        assert part in text


def test_a_notebook_shows_it_escaped():
    model = tiny_model("llama")
    model.card = ModelCard("<b>", "a & b", "0" * 12)

    html = model._repr_html_()

    assert "<caption>&lt;b&gt;</caption>" in html
    assert "<td>a &amp; b</td>" in html
    assert html.count("<tr>") == 8
