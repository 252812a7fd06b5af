"""How an intervention is kept on disk: exactly, and strictly read."""

import json
import re
from importlib.resources import files

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from seatrial.errors import BadFile, BadOption, StoreFault
from seatrial.steering import load, load_several, save
from seatrial.steering.edits import (
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
from seatrial.steering.intervention import (
    UNSTEERED,
    Gate,
    Intervention,
    Part,
    PromptEdit,
)
from seatrial.steering.readout import ContrastLayers
from seatrial.steering.saving import FORMAT
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
    save(Intervention(edits, "last", SEA, ORIGIN, also=ALSO, gate=GATE), path)
    return path


ALSO = (
    Part({}, "generated"),
    Part({Site(1): Add(normal(5, 6)), Site(2): example("rotate")}, "at_4"),
    Part({Site(1): Add(normal(6, 6))}, "at_5"),
)
GATE = Gate(Site(2), normal(7, 6), 0.1 + 0.2, "below", "last", "published")


def rewrite(path, **changes):
    """Change header fields of a saved intervention; "removed" takes one away."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["seatrial"])
    header = {k: v for k, v in (header | changes).items() if v != "removed"}
    save_file(load_file(path), path, {"seatrial": json.dumps(header)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("kind", EDITS)
def test_every_kind_of_edit_is_loaded_exactly_as_saved(kind, dtype, tmp_path):
    edit = example(kind)
    values = (getattr(edit, name) for name in vars(edit))
    edit = type(edit)(*(x.to(dtype) if x.is_floating_point() else x for x in values))

    save(Intervention({Site(3, "attn"): edit}, "first_5"), tmp_path / "a.safetensors")

    loaded = load(tmp_path / "a.safetensors")
    (site,), (found,) = loaded.edits, loaded.edits.values()
    assert (site, type(found), loaded.tokens) == (Site(3, "attn"), type(edit), "first_5")
    for name, value in vars(edit).items():
        assert getattr(found, name).dtype == value.dtype
        assert torch.equal(getattr(found, name), value)


def test_views_are_saved_as_what_they_show(tmp_path):
    table = normal(0, 6, 4)

    save(
        Intervention({Site(0): Add(table[:, 1]), Site(1): Add(table[:, 1])}), tmp_path / "a"
    )

    edits = load(tmp_path / "a").edits
    assert torch.equal(edits[Site(0)].vector, table[:, 1])
    assert torch.equal(edits[Site(1)].vector, table[:, 1])


def test_prompt_edit_and_origin_are_loaded_as_saved(saved):
    loaded = load(saved)

    assert (loaded.prompt_edit, loaded.origin, loaded.tokens) == (SEA, ORIGIN, "last")
    assert list(loaded.edits) == [Site(0, "mlp"), Site(1)]


def test_parts_and_gate_are_loaded_exactly_as_saved(saved):
    loaded = load(saved)

    assert [part.tokens for part in loaded.also] == ["generated", "at_4", "at_5"]
    for part, wanted in zip(loaded.also, ALSO, strict=True):
        assert list(part.edits) == list(wanted.edits)
        for edit, other in zip(part.edits.values(), wanted.edits.values(), strict=True):
            assert type(edit) is type(other)
            assert all(map(torch.equal, vars(edit).values(), vars(other).values()))
    plain = vars(loaded.gate) | {"vector": None}
    assert plain == vars(GATE) | {"vector": None}
    assert torch.equal(loaded.gate.vector, GATE.vector)


def test_a_readout_is_loaded_as_saved(tmp_path):
    readout = ContrastLayers((0, 2), 0.25, "none", "published", False, "after")
    save(Intervention(readout=readout), tmp_path / "dola")

    assert load(tmp_path / "dola").readout == readout


def test_demonstrations_are_loaded_as_saved(tmp_path):
    save(Intervention(prompt_edit=SHOWN), tmp_path / "shown")

    found = load(tmp_path / "shown").prompt_edit

    assert found == SHOWN
    assert hash(found) == hash(SHOWN)  # tuples all the way down, as the engine needs
    assert repr(found) == repr(SHOWN)


def test_prompt_edit_alone_and_no_edit_at_all_can_be_saved(tmp_path):
    save(Intervention(prompt_edit=SEA), tmp_path / "prompt")
    save(UNSTEERED.intervention, tmp_path / "nothing")

    assert load(tmp_path / "prompt").prompt_edit == SEA
    assert load(tmp_path / "nothing").prompt_edit is None
    assert dict(load(tmp_path / "nothing").edits) == {}


def test_saving_twice_writes_the_same_bytes(saved, tmp_path):
    save(load(saved), tmp_path / "again")

    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_saving_makes_folders_and_leaves_nothing_else(tmp_path):
    save(Intervention(prompt_edit=SEA), tmp_path / "some" / "where" / "a.safetensors")

    assert [f.name for f in (tmp_path / "some" / "where").iterdir()] == ["a.safetensors"]


def test_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(BadFile, match=r"nowhere does not exist; .* `seatrial fit`"):
        load(tmp_path / "nowhere")


def test_a_folder_is_no_steering(tmp_path):
    with pytest.raises(BadFile, match="does not exist"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_corrupt_file_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(BadFile, match="a is no readable safetensors file"):
        load(tmp_path / "a")


def test_truncated_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-3])

    with pytest.raises(BadFile, match="is no readable safetensors file"):
        load(saved)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors_are_refused(tmp_path, metadata):
    save_file({"weight": torch.ones(2)}, tmp_path / "a", metadata)

    with pytest.raises(BadFile, match=r"no seatrial steering .its header lacks 'seatrial'"):
        load(tmp_path / "a")


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
        load(tmp_path / "a")


@pytest.mark.parametrize("version", [FORMAT + 1, 0, "removed"])
def test_other_format_version_names_its_writer(saved, version):
    rewrite(saved, format=version, library="seatrial 9.9")

    with pytest.raises(
        BadFile, match=rf"reads {FORMAT}; .* that wrote it \(seatrial 9\.9\)"
    ):
        load(saved)


GATE_HEADER = {
    "layer": 2,
    "point": "resid",
    "threshold": 0.3,
    "fires": "above",
    "read": "mean",
    "similarity": "cosine",
}
FIELDS = ["library", "tokens", "edits", "also", "gate", "prompt_edit", "readout", "origin"]


@pytest.mark.parametrize("field", FIELDS)
def test_missing_header_field_is_named(saved, field):
    rewrite(saved, **{field: "removed"})

    with pytest.raises(BadFile, match=f"unknown or missing header fields: {field};"):
        load(saved)


def test_unknown_header_field_is_named(saved):
    rewrite(saved, colour="blue")

    with pytest.raises(BadFile, match="unknown or missing header fields: colour;"):
        load(saved)


def test_an_unknown_tensor_is_named(saved):
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    save_file({**load_file(saved), "7.0.vector": torch.ones(6)}, saved, metadata)

    with pytest.raises(BadFile, match=r"unknown tensors: 7\.0\.vector"):
        load(saved)


def test_missing_tensor_is_named(saved):
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(saved)
    del tensors["0.1.vector"]
    save_file(tensors, saved, metadata)

    with pytest.raises(BadFile, match=r"lacks or misnames a part .*0\.1\.vector"):
        load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"edits": [{"layer": 0, "point": "mlp", "kind": "spin"}]},
            "misnames a part .*spin",
        ),
        ({"edits": [{"layer": 0, "kind": "add"}]}, "lacks or misnames a part"),
        ({"edits": [{"layer": -1, "point": "mlp", "kind": "replace"}]}, "is no site"),
        (
            {"edits": [{"layer": "0", "point": "mlp", "kind": "replace"}]},
            "is no site",
        ),
        ({"edits": [{"layer": 0, "point": "skin", "kind": "replace"}]}, "is no site"),
        ({"edits": 3}, "lacks or misnames a part"),
        ({"prompt_edit": {"encourage": "only"}}, "lacks or misnames a part"),
        (
            {"prompt_edit": {"encourage": "", "discourage": ""}},
            "lacks or misnames a part .*negative, positive",
        ),
        (
            {"prompt_edit": {**vars(SEA), "positive": [["So", " it", "is"]]}},
            "lacks or misnames a part",
        ),
        ({"prompt_edit": {**vars(SEA), "tone": "calm"}}, "lacks or misnames a part .*tone"),
        ({"origin": {"planet": "Mars"}}, "lacks or misnames a part"),
        ({"origin": {"model": "tiny"}}, "lacks or misnames a part"),
        ({"also": 3}, "lacks or misnames a part"),
        ({"also": [{"edits": []}]}, "lacks or misnames a part .*tokens"),
        ({"also": [{"tokens": "all", "edits": [], "dose": 1}]}, "misnames a part .*dose"),
        ({"also": [{"tokens": "at_x", "edits": []}]}, "'at_x' is no token scope"),
        (
            {"edits": [{"layer": 0, "point": "mlp", "kind": "add", "dose": 2}]},
            "misnames a part .*dose",
        ),
        ({"gate": {"layer": 2}}, "lacks or misnames a part .*fires"),
        ({"gate": {**GATE_HEADER, "words": 1}}, "lacks or misnames a part .*words"),
        ({"gate": {**GATE_HEADER, "threshold": "0.1"}}, "'0.1' is no threshold"),
        ({"gate": {**GATE_HEADER, "threshold": float("inf")}}, "needs a finite threshold"),
        (
            {"gate": {**GATE_HEADER, "fires": "larger"}},
            "'larger' is no 'fires' of a gate; choose above or below",
        ),
        ({"gate": {**GATE_HEADER, "point": "skin"}}, "is no site"),
        ({"gate": None}, "unknown tensors: gate"),
        ({"readout": {"kind": "contrast-layers", "layers": [1]}}, "plausibility"),
        ({"readout": {"kind": "sorcery"}}, "lacks or misnames a part .*sorcery"),
        ({"tokens": "every"}, "holds a value out of range .*'every' is no token scope"),
    ],
)
def test_header_with_wrong_values_is_refused(saved, changes, message):
    rewrite(saved, **changes)

    with pytest.raises(BadFile, match=message):
        load(saved)


def test_file_with_a_bad_basis_is_a_bad_file(tmp_path):
    save(Intervention({Site(0): example("project")}), tmp_path / "a")
    with safe_open(tmp_path / "a", framework="pt") as file:
        metadata = file.metadata()
    save_file({"0.0.basis": torch.ones(6, 2)}, tmp_path / "a", metadata)

    with pytest.raises(BadFile, match=r"out of range .*must be orthonormal"):
        load(tmp_path / "a")


def test_edit_of_an_unregistered_kind_is_refused(tmp_path):
    class Mine(Edit):
        width = 2

        def __call__(self, h, dose):
            return h

        def turned(self, draw):
            return self

    with pytest.raises(
        BadOption, match="kind 'Mine' cannot be saved; the kinds on disk are add,"
    ):
        save(Intervention({Site(0): Mine()}), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreFault, match=r"cannot write .*; free space or choose another"):
        save(Intervention(prompt_edit=SEA), tmp_path / "file" / "a.safetensors")


def test_folder_in_the_place_of_the_file_leaves_no_partial_file(tmp_path):
    (tmp_path / "a").mkdir()

    with pytest.raises(StoreFault, match="cannot write"):
        save(Intervention(prompt_edit=SEA), tmp_path / "a")
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_no_line_of_the_library_reads_pickles():
    reader = re.compile(
        r"\b(import pickle|from pickle|torch\.load\(|torch\.save\(|joblib|dill)"
    )
    sources = [f for f in files("seatrial").rglob("*.py")]

    found = [f.name for f in sources if reader.search(f.read_text("utf-8"))]

    assert len(sources) > 20
    assert found == []


def test_several_files_are_read_by_name(tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "x" / "a"]
    for seed, path in enumerate(paths):
        save(Intervention({Site(0): Add(normal(seed, 6))}), path)

    assert list(load_several(paths[:2])) == ["a", "b"]
    assert list(load_several(paths)) == [str(path) for path in paths]
    vectors = [each.edits[Site(0)].vector for each in load_several(paths).values()]
    assert all(torch.equal(v, normal(seed, 6)) for seed, v in enumerate(vectors))


def test_no_file_and_a_file_twice_are_refused(saved):
    with pytest.raises(BadOption, match="there is no file; name those"):
        load_several([])
    with pytest.raises(BadOption, match="is named twice; name it once, and give it"):
        load_several([saved, saved.parent / "." / saved.name])
