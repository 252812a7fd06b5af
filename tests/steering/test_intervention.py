"""Which tokens an intervention edits, and what an intervention is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seatrial.errors import BadData, BadOption
from seatrial.steering import ContrastLayers, Gate, PromptEdit
from seatrial.steering.edits import Add, Project, Replace
from seatrial.steering.intervention import (
    SCOPES,
    UNSTEERED,
    Intervention,
    Part,
    Steering,
    check_scope,
    scope_span,
)
from seatrial.types import Origin, Site, Text


@pytest.mark.parametrize(
    ("scope", "span"),
    [
        # A prompt of 3 tokens and 2 more.
        ("all", (0, 5)),
        ("prompt", (0, 3)),
        ("last", (2, 3)),
        ("from_last_prompt", (2, 5)),
        ("generated", (3, 5)),
        ("first_1", (0, 1)),
        ("first_4", (0, 4)),
        ("first_12", (0, 5)),
        ("at_0", (0, 1)),
        ("at_2", (2, 3)),
    ],
)
def test_a_scope_spans_these_tokens(scope, span):
    assert scope_span(scope, n_prompt=3, n_total=5) == span


def test_nothing_is_generated_where_the_prompt_is_all():
    assert scope_span("generated", 3, 3) == (3, 3)
    assert scope_span("from_last_prompt", 3, 3) == (2, 3)


@pytest.mark.parametrize(("place", "tokens"), [(3, 3), (4, 3), (12, 2)])
def test_a_token_that_the_prompt_does_not_have_is_refused(place, tokens):
    """Also where the answer goes on to that place: it is not the prompt's."""
    message = (
        rf"scope 'at_{place}' edits token {place} of a prompt, counted from 0, but a "
        rf"prompt has {tokens} tokens only; give longer prompts, or a steering that edits"
    )

    with pytest.raises(BadData, match=message):
        scope_span(f"at_{place}", tokens, 20)


@given(n_prompt=st.integers(1, 9), n_answer=st.integers(0, 5), k=st.integers(1, 9))
def test_the_first_tokens_of_a_prompt_are_its_tokens_one_by_one(n_prompt, n_answer, k):
    k = min(k, n_prompt)

    spans = [scope_span(f"at_{place}", n_prompt, n_prompt + n_answer) for place in range(k)]

    together = [position for span in spans for position in range(*span)]
    assert together == list(range(*scope_span(f"first_{k}", n_prompt, n_prompt + n_answer)))


ODD = [
    "every",
    "first",
    "first_0",
    "first_-1",
    "first_02",
    "",
    "at",
    "at_",
    "at_-1",
    "at_01",
]


@pytest.mark.parametrize("scope", ODD)
def test_unknown_scope_lists_the_known_ones(scope):
    known = rf"{', '.join(SCOPES)}, or first_K or at_K with a number"
    message = rf"{scope!r} is no token scope; choose one of {known}"

    with pytest.raises(BadOption, match=message):
        Intervention(tokens=scope)


def test_known_scopes_pass_unchanged():
    scopes = [*SCOPES, "first_7", "at_0", "at_12"]

    assert [check_scope(scope) for scope in scopes] == scopes


def test_edits_are_kept_in_the_order_of_the_model_and_cannot_be_changed():
    late, early = Add(torch.ones(2)), Add(torch.zeros(2))

    intervention = Intervention({Site(2): late, Site(0): early})

    assert list(intervention.edits) == [Site(0), Site(2)]
    with pytest.raises(TypeError, match="does not support item assignment"):
        intervention.edits[Site(1)] = early


def test_norms_are_those_of_added_vectors():
    edits = {Site(0): Add(torch.tensor([3.0, 4.0])), Site(1): Replace(torch.ones(2))}

    assert Intervention(edits).norms() == {Site(0): 5.0}


def test_vectors_for_tokens_of_their_own_have_one_length_together():
    part = Part({Site(1): Add(torch.tensor([0.0, 12.0]))}, "at_3")

    together = Intervention({Site(1): Add(torch.tensor([3.0, 4.0]))}, "at_2", also=(part,))

    assert together.norms() == {Site(1): 13.0}


def test_parts_stand_in_the_order_in_which_they_edit():
    one, other = Add(torch.ones(2)), Replace(torch.ones(2))
    also = Part({Site(0): other}, "last"), Part({}, "prompt")

    parts = Intervention({Site(2): one}, "generated", also=also).parts

    assert [(part.tokens, dict(part.edits)) for part in parts] == [
        ("generated", {Site(2): one}), ("last", {Site(0): other}),
    ]  # fmt: skip
    with pytest.raises(BadOption, match="'here' is no token scope"):
        Part({}, "here")


SHIP = "<b>Praise</b> the ship."


def everything():
    edits = {Site(k): Project(torch.eye(4)[:, :1]) for k in range(6)}
    edits[Site(1)] = Add(torch.tensor([3.0, 4.0, 0.0, 0.0]))
    return Intervention(
        edits,
        "last",
        PromptEdit(SHIP, "", positive=(Text("So", " it is"),)),
        Origin("tiny <1>", 4, "caa", {}, "data", 7),
        ContrastLayers((0,)),
        (Part({Site(0): Add(torch.ones(4)), Site(2): Add(torch.zeros(4))}, "at_1"),),
        Gate(Site(2), torch.ones(4), 0.25, "below"),
    )


def test_it_says_what_it_does_where_and_where_it_comes_from():
    words = repr(everything())

    for part in (
        "Project at 5 sites from 0.resid to 5.resid, tokens last",
        "Add at 1.resid, tokens last, norm 5",
        "Add at 0.resid, 2.resid, tokens at_1, norm 0 to 2",
        f"prompt edit {SHIP!r} with 1 demonstrations",
        "readout ContrastLayers(layers=(0,)",
        "gate at 2.resid, below 0.25",
        "from caa on tiny <1>, seed 7",
    ):
        assert part in words
    assert repr(Steering(everything(), 0.5)) == f"<Steering: dose 0.5 of {words}>"
    assert repr(UNSTEERED) == "<Steering: dose 0 of <Intervention: nothing>>"
    assert everything().in_words() == (
        "edits at 0.resid, 1.resid, 2.resid, 3.resid, 4.resid, 5.resid and a prompt edit "
        "and a readout and a gate"
    )


def test_a_notebook_shows_a_small_table_of_escaped_text():
    page = Steering(everything(), -1.0)._repr_html_()

    assert page.startswith("dose -1 of <b>Intervention</b><table><tr><th>edit</th>")
    assert "<td>Add</td><td>1.resid</td><td>last</td><td>5</td>" in page
    assert "&lt;b&gt;Praise&lt;/b&gt; the ship." in page and "tiny &lt;1&gt;" in page
    assert "<b>Praise" not in page
    assert len(page) < 1500
    assert Intervention()._repr_html_() == "<b>Intervention</b>: nothing"


def test_a_display_stays_small_whatever_is_in_it():
    long = Intervention(
        {Site(k): Add(torch.ones(4096)) for k in range(64)},
        prompt_edit=PromptEdit("word " * 5000, ""),
    )

    assert len(repr(long)) < 300
    assert len(long._repr_html_()) < 500
