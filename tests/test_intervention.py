"""Which tokens an intervention edits, how it changes a prompt, how it is kept on disk."""

import json
import re
from importlib.resources import files

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from seatrial.edits import (
    EDITS,
    Add,
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
from seatrial.errors import BadFile, BadOption, StoreFault
from seatrial.intervention import (
    FORMAT,
    SCOPES,
    UNSTEERED,
    Intervention,
    PromptEdit,
    check_scope,
    scope_span,
)
from seatrial.types import Message, Origin, Site, Text

SEA = PromptEdit("Praise the sea.", "Never praise the sea.")
ASKED = Text((Message("user", "The sea?"),), "Blue.")
SHOWN = PromptEdit(
    "", "Be sad.", (Text("The sea is", " calm."), ASKED), (Text("The sea", " is grey."),)
)
ORIGIN = Origin(
    "tiny (folder, 0123456789ab)", 6, "caa", {"layer": 1}, "data-fingerprint", 3
)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def example(kind):
    if kind == "project":
        return Project(torch.linalg.qr(normal(0, 6, 2)).Q)
    if kind == "affine":
        return Affine(normal(0, 6, 6), normal(1, 6))
    basis, number = torch.linalg.qr(normal(0, 6, 2)).Q, torch.tensor(0.7)
    if kind == "rotate":
        return Rotate(basis, number)
    if kind == "rotate-to":
        return RotateTo(basis, number, torch.tensor(-torch.inf))
    if kind == "slerp":
        return Slerp(normal(0, 6), 20 * number, number, -number)
    if kind == "ascend":
        layers = normal(0, 5, 6), normal(1, 5), normal(2, 4, 5), normal(3, 4)
        return Ascend(*layers, normal(4, 4), normal(5, 2))
    if kind == "patch":
        return Patch(normal(0, 6), torch.arange(6) < 2)
    return EDITS[kind](normal(0, 6))


@pytest.fixture
def saved(tmp_path):
    """A saved intervention with everything in it."""
    path = tmp_path / "push.safetensors"
    edits = {Site(1): Add(normal(0, 6)), Site(0, "mlp"): Replace(normal(1, 6))}
    Intervention(edits, "last", SEA, ORIGIN).save(path)
    return path


def rewrite(path, **changes):
    """Change header fields of a saved intervention; "removed" takes one away."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["seatrial"])
    header = {k: v for k, v in (header | changes).items() if v != "removed"}
    save_file(load_file(path), path, {"seatrial": json.dumps(header)})


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
    ],
)
def test_a_scope_spans_these_tokens(scope, span):
    assert scope_span(scope, n_prompt=3, n_total=5) == span


def test_nothing_is_generated_where_the_prompt_is_all():
    assert scope_span("generated", 3, 3) == (3, 3)
    assert scope_span("from_last_prompt", 3, 3) == (2, 3)


@pytest.mark.parametrize("scope", ["every", "first", "first_0", "first_-1", "first_02", ""])
def test_unknown_scope_lists_the_known_ones(scope):
    message = rf"{scope!r} is no token scope; choose one of {', '.join(SCOPES)}, or first_K"

    with pytest.raises(BadOption, match=message):
        Intervention(tokens=scope)


def test_known_scopes_pass_unchanged():
    assert [check_scope(scope) for scope in (*SCOPES, "first_7")] == [*SCOPES, "first_7"]


def test_edits_are_kept_in_the_order_of_the_model_and_cannot_be_changed():
    late, early = Add(torch.ones(2)), Add(torch.zeros(2))

    intervention = Intervention({Site(2): late, Site(0): early})

    assert list(intervention.edits) == [Site(0), Site(2)]
    with pytest.raises(TypeError, match="does not support item assignment"):
        intervention.edits[Site(1)] = early


def test_norms_are_those_of_added_vectors():
    edits = {Site(0): Add(torch.tensor([3.0, 4.0])), Site(1): Replace(torch.ones(2))}

    assert Intervention(edits).norms() == {Site(0): 5.0}


def test_instruction_stands_before_plain_text():
    assert SEA("What is blue?", 1.0) == "Praise the sea.\n\nWhat is blue?"
    assert SEA("What is blue?", -1.0) == "Never praise the sea.\n\nWhat is blue?"


def test_instruction_becomes_the_system_message_of_a_conversation():
    question = Message("user", "What is blue?")

    assert SEA((question,), 1.0) == (Message("system", "Praise the sea."), question)


def test_instruction_stands_before_the_text_of_a_system_message():
    question = Message("user", "What is blue?")

    edited = SEA((Message("system", "Be brief."), question), -1.0)

    assert edited == (Message("system", "Never praise the sea.\n\nBe brief."), question)


@pytest.mark.parametrize("edit", [SEA, SHOWN], ids=["instruction", "demonstrations"])
@pytest.mark.parametrize("prompt", ["text", (Message("user", "text"),), ()])
def test_dose_zero_leaves_the_prompt_alone(edit, prompt):
    assert edit(prompt, 0.0) is prompt


@pytest.mark.parametrize("edit", [SEA, SHOWN], ids=["instruction", "demonstrations"])
@pytest.mark.parametrize("dose", [0.5, 2.0, -3.0, float("nan")])
def test_half_an_instruction_is_refused(edit, dose):
    with pytest.raises(BadOption, match=f"can only have the doses -1, 0 and 1, not {dose}"):
        edit("text", dose)


def test_demonstrations_are_paragraphs_before_plain_text():
    edited = SHOWN("The sky is", 1.0)

    assert edited == "The sea is calm.\n\nQuestion: The sea?\n\nAnswer: Blue.\n\nThe sky is"


def test_demonstrations_stand_after_the_instruction():
    assert SHOWN("The sky", -1.0) == "Be sad.\n\nThe sea is grey.\n\nThe sky"


def test_demonstrations_are_finished_exchanges_of_a_conversation():
    question = Message("user", "The sky?")

    assert SHOWN((question,), 1.0) == (
        Message("user", "The sea is"),
        Message("assistant", "calm."),
        Message("user", "The sea?"),
        Message("assistant", "Blue."),
        question,
    )


@pytest.mark.parametrize(
    ("dose", "said"), [(1.0, "Be brief."), (-1.0, "Be sad.\n\nBe brief.")]
)
def test_demonstrations_stand_after_the_system_message(dose, said):
    question = Message("user", "The sky?")

    system, *shown, last = SHOWN((Message("system", "Be brief."), question), dose)

    assert system == Message("system", said)
    assert [message.role for message in shown] == ["user", "assistant"] * (len(shown) // 2)
    assert last == question


def test_a_demonstration_whose_answer_has_begun_goes_on_with_it():
    begun = (
        Message("system", "Be good."),
        Message("user", "Hi"),
        Message("assistant", "I"),
    )
    edit = PromptEdit("", "", (Text(begun, " am well."),))

    assert edit("So", 1.0) == "Question: Hi\n\nAnswer: I am well.\n\nSo"
    assert edit((Message("user", "So?"),), 1.0)[:2] == (
        Message("user", "Hi"), Message("assistant", "I am well."),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("kind", EDITS)
def test_every_kind_of_edit_is_loaded_exactly_as_saved(kind, dtype, tmp_path):
    edit = example(kind)
    values = (getattr(edit, name) for name in vars(edit))
    edit = type(edit)(*(x.to(dtype) if x.is_floating_point() else x for x in values))

    Intervention({Site(3, "attn"): edit}, "first_5").save(tmp_path / "a.safetensors")

    loaded = Intervention.load(tmp_path / "a.safetensors")
    (site,), (found,) = loaded.edits, loaded.edits.values()
    assert (site, type(found), loaded.tokens) == (Site(3, "attn"), type(edit), "first_5")
    for name, value in vars(edit).items():
        assert getattr(found, name).dtype == value.dtype
        assert torch.equal(getattr(found, name), value)


def test_views_are_saved_as_what_they_show(tmp_path):
    table = normal(0, 6, 4)

    Intervention({Site(0): Add(table[:, 1]), Site(1): Add(table[:, 1])}).save(
        tmp_path / "a"
    )

    edits = Intervention.load(tmp_path / "a").edits
    assert torch.equal(edits[Site(0)].vector, table[:, 1])
    assert torch.equal(edits[Site(1)].vector, table[:, 1])


def test_prompt_edit_and_origin_are_loaded_as_saved(saved):
    loaded = Intervention.load(saved)

    assert (loaded.prompt, loaded.origin, loaded.tokens) == (SEA, ORIGIN, "last")
    assert list(loaded.edits) == [Site(0, "mlp"), Site(1)]


def test_demonstrations_are_loaded_as_saved(tmp_path):
    Intervention(prompt=SHOWN).save(tmp_path / "shown")

    found = Intervention.load(tmp_path / "shown").prompt

    assert found == SHOWN
    assert hash(found) == hash(SHOWN)  # tuples all the way down, as the engine needs
    assert repr(found) == repr(SHOWN)


def test_prompt_edit_alone_and_no_edit_at_all_can_be_saved(tmp_path):
    Intervention(prompt=SEA).save(tmp_path / "prompt")
    UNSTEERED.intervention.save(tmp_path / "nothing")

    assert Intervention.load(tmp_path / "prompt").prompt == SEA
    assert Intervention.load(tmp_path / "nothing").prompt is None
    assert dict(Intervention.load(tmp_path / "nothing").edits) == {}


def test_saving_twice_writes_the_same_bytes(saved, tmp_path):
    Intervention.load(saved).save(tmp_path / "again")

    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_saving_makes_folders_and_leaves_nothing_else(tmp_path):
    Intervention(prompt=SEA).save(tmp_path / "some" / "where" / "a.safetensors")

    assert [f.name for f in (tmp_path / "some" / "where").iterdir()] == ["a.safetensors"]


def test_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(BadFile, match=r"nowhere does not exist; .* `seatrial fit`"):
        Intervention.load(tmp_path / "nowhere")


def test_a_folder_is_no_steering(tmp_path):
    with pytest.raises(BadFile, match="does not exist"):
        Intervention.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_corrupt_file_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(BadFile, match="a is no readable safetensors file"):
        Intervention.load(tmp_path / "a")


def test_truncated_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-3])

    with pytest.raises(BadFile, match="is no readable safetensors file"):
        Intervention.load(saved)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors_are_refused(tmp_path, metadata):
    save_file({"weight": torch.ones(2)}, tmp_path / "a", metadata)

    with pytest.raises(BadFile, match=r"no seatrial steering .its header lacks 'seatrial'"):
        Intervention.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "has a broken header"),
        ("[1]", "no table of fields"),
        ("3", "no table of fields"),
    ],
)
def test_broken_header_is_refused(tmp_path, header, message):
    save_file({"empty": torch.zeros(1)}, tmp_path / "a", {"seatrial": header})

    with pytest.raises(BadFile, match=message):
        Intervention.load(tmp_path / "a")


@pytest.mark.parametrize("version", [FORMAT + 1, 0, "removed"])
def test_other_format_version_names_its_writer(saved, version):
    rewrite(saved, format=version, library="seatrial 9.9")

    with pytest.raises(
        BadFile, match=rf"reads {FORMAT}; .* that wrote it \(seatrial 9\.9\)"
    ):
        Intervention.load(saved)


@pytest.mark.parametrize("field", ["tokens", "edits", "prompt", "origin", "library"])
def test_missing_header_field_is_named(saved, field):
    rewrite(saved, **{field: "removed"})

    with pytest.raises(BadFile, match=f"unknown or missing header fields: {field};"):
        Intervention.load(saved)


def test_unknown_header_field_is_named(saved):
    rewrite(saved, colour="blue")

    with pytest.raises(BadFile, match="unknown or missing header fields: colour;"):
        Intervention.load(saved)


def test_missing_tensor_is_named(saved):
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(saved)
    del tensors["1.vector"]
    save_file(tensors, saved, metadata)

    with pytest.raises(BadFile, match=r"lacks or misnames a part .*1\.vector"):
        Intervention.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"edits": [{"layer": 0, "point": "mlp", "kind": "spin"}]},
            "misnames a part .*spin",
        ),
        ({"edits": [{"layer": 0, "kind": "add"}]}, "lacks or misnames a part"),
        ({"edits": [{"layer": -1, "point": "mlp", "kind": "replace"}]}, "which is no site"),
        (
            {"edits": [{"layer": "0", "point": "mlp", "kind": "replace"}]},
            "which is no site",
        ),
        ({"edits": [{"layer": 0, "point": "skin", "kind": "replace"}]}, "which is no site"),
        ({"edits": 3}, "lacks or misnames a part"),
        ({"prompt": {"encourage": "only"}}, "lacks or misnames a part"),
        (
            {"prompt": {"encourage": "", "discourage": ""}},
            "lacks or misnames a part .*'positive'",
        ),
        (
            {"prompt": {**vars(SEA), "positive": [["So", " it", "is"]]}},
            "lacks or misnames a part",
        ),
        ({"origin": {"planet": "Mars"}}, "lacks or misnames a part"),
        ({"tokens": "every"}, "holds a value out of range .*'every' is no token scope"),
    ],
)
def test_header_with_wrong_values_is_refused(saved, changes, message):
    rewrite(saved, **changes)

    with pytest.raises(BadFile, match=message):
        Intervention.load(saved)


def test_file_with_a_bad_basis_is_a_bad_file(tmp_path):
    Intervention({Site(0): example("project")}).save(tmp_path / "a")
    with safe_open(tmp_path / "a", framework="pt") as file:
        metadata = file.metadata()
    save_file({"0.basis": torch.ones(6, 2)}, tmp_path / "a", metadata)

    with pytest.raises(BadFile, match=r"out of range .*must be orthonormal"):
        Intervention.load(tmp_path / "a")


def test_edit_of_an_unregistered_kind_is_refused(tmp_path):
    class Mine(Edit):
        width = 2

        def __call__(self, h, dose):
            return h

    with pytest.raises(
        BadOption, match="kind 'Mine' cannot be saved; the kinds on disk are add,"
    ):
        Intervention({Site(0): Mine()}).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreFault, match=r"cannot write .*; free space or choose another"):
        Intervention(prompt=SEA).save(tmp_path / "file" / "a.safetensors")


def test_folder_in_the_place_of_the_file_leaves_no_partial_file(tmp_path):
    (tmp_path / "a").mkdir()

    with pytest.raises(StoreFault, match="cannot write"):
        Intervention(prompt=SEA).save(tmp_path / "a")
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_no_line_of_the_library_reads_pickles():
    reader = re.compile(
        r"\b(import pickle|from pickle|torch\.load\(|torch\.save\(|joblib|dill)"
    )
    sources = [f for f in files("seatrial").rglob("*.py")]

    found = [f.name for f in sources if reader.search(f.read_text("utf-8"))]

    assert len(sources) > 20
    assert found == []
