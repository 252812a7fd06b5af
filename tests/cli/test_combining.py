"""`seatrial combine` and `compare`: several steerings as one, or beside each other."""

import re

import pytest
import torch

from seatrial import cli
from seatrial.model import Model
from seatrial.steering import load, save
from seatrial.steering.compare import comparison
from seatrial.steering.compose import joined, weighted
from seatrial.steering.edits import Add, Project
from seatrial.steering.intervention import Intervention, PromptEdit, Steering
from seatrial.types import Origin, Request, Site

WIDTH = 32
REQUESTS = [Request("sea", "sea", "What does the sea look like?", (" It is calm.", " No."))]

SEA = PromptEdit("Praise the sea.", "Never praise the sea.")
CUT = Project(torch.eye(WIDTH)[:, :1])


def normal(seed):
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def push(seed, layer=0, tokens="all", **more):
    return Intervention({Site(layer): Add(normal(seed))}, tokens, **more)


@pytest.fixture
def files(tmp_path):
    """Write some interventions; returns their paths by name."""

    def write(**interventions):
        paths = {name: tmp_path / f"{name}.safetensors" for name in interventions}
        for name, intervention in interventions.items():
            save(intervention, paths[name])
        return paths

    return write


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deep" / "made.safetensors"


def test_without_weights_all_of_them_act_at_once(files, out, root, call):
    several = {"a": push(1), "b": push(2, 1, "last"), "c": Intervention(prompt_edit=SEA)}
    paths = files(**several)

    code, said, err = call("combine", *paths.values(), "--out", out)

    made = joined(*several.values())
    model = Model.load(str(root / "chat"))
    together, at_once, *alone = model.log_probs(
        REQUESTS, [Steering(v) for v in (load(out), made, *several.values())]
    )
    assert (code, err) == (0, "")
    assert said == (f"{out}: a, b, c joined; edits at 0.resid, 1.resid and a prompt edit\n")
    assert together == at_once
    assert together not in alone


def test_with_weights_their_vectors_are_added_up(files, out, call):
    paths = files(a=push(1, tokens="last"), b=push(2, tokens="last"))

    code, said, _ = call("combine", *paths.values(), "--weights", "1", "-0.5", "--out", out)

    made = load(out)
    assert code == 0
    assert said == f"{out}: a, b weighted and added up; edits at 0.resid\n"
    assert made.tokens == "last"
    assert torch.allclose(made.edits[Site(0)].vector, normal(1) - 0.5 * normal(2))
    by_hand = weighted({push(1, tokens="last"): 1.0, push(2, tokens="last"): -0.5})
    assert torch.equal(made.edits[Site(0)].vector, by_hand.edits[Site(0)].vector)


def test_one_file_can_be_scaled(files, out, call):
    [path] = files(a=push(1)).values()

    assert call("combine", path, "--weights", "-2", "--out", out)[0] == 0

    assert torch.equal(load(out).edits[Site(0)].vector, -2 * normal(1))


def test_what_is_fitted_can_be_combined_and_the_origin_names_the_parts(
    root, vector, out, call
):
    other = root / "repe.safetensors"
    data = ("--concept", root / "planted.jsonl", "--model", root / "model")
    call("fit", "repe", *data, "--layer", "1", "--out", other)

    code, _, _ = call("combine", vector, other, "--out", out)

    origin = load(out).origin
    assert code == 0
    assert origin.method == "joined"
    assert [part["method"] for part in origin.options["parts"]] == ["caa", "repe"]


def test_compare_shows_every_norm_and_cosine_by_site(files, call):
    origin = Origin("model", WIDTH, "caa", {"state_norms": {"0.resid": 8.0}}, "data", 0)
    several = {"up": push(1, origin=origin), "down": push(2), "far": push(3, 1)}
    paths = files(**several)

    code, said, err = call("compare", *paths.values())

    rows = comparison(several).rows
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in said.splitlines()
        if line.startswith("│")
    ]
    assert (code, err) == (0, "")
    assert lines == [
        [
            str(row.site),
            row.intervention,
            row.tokens,
            f"{row.norm:.4g}",
            f"{row.norm / 8:.3g}" if row.intervention == "up" else "",
            " ".join(f"{cosine:+.3f}" for cosine in row.cosines),
        ]
        for row in rows
    ]
    assert [line[0] for line in lines] == ["0.resid", "0.resid", "1.resid"]
    assert said.count("├") == 1  # a rule between two sites
    cosine = float(torch.cosine_similarity(normal(1), normal(2), dim=0))
    assert lines[0][-1] == f"+1.000 {cosine:+.3f}"


def test_compare_says_what_it_leaves_out(files, call):
    paths = files(
        a=push(1), words=Intervention(prompt_edit=SEA), cut=Intervention({Site(0): CUT})
    )

    _, said, _ = call("compare", *paths.values())

    assert said.endswith("Not shown, because they add no vector: words, cut\n")


def test_files_of_one_name_are_shown_with_their_folders(files, tmp_path, call):
    [first] = files(v=push(1)).values()
    second = tmp_path / "other" / "v.safetensors"
    save(push(2), second)

    _, said, _ = call("compare", first, second)

    # Long names are divided between lines.
    plain = re.sub(r"[│\s]", "", said)
    assert "other/v.safetensors" in plain


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_is_cut_in_a_narrow_terminal(width, files, call, monkeypatch):
    paths = files(**{f"a-steering-with-a-long-name-{k}": push(k) for k in range(6)})
    monkeypatch.setattr(cli.OUT, "width", width)

    _, said, _ = call("compare", *paths.values())

    assert len(re.findall(r"[+-]\d\.\d{3}(?!\d)", said)) == 36
    assert "\u2026" not in said
    assert max(map(len, said.splitlines())) <= width


def fitted_on(model):
    return push(1, origin=Origin(model, WIDTH, "caa", {}, "data", 0))


@pytest.mark.parametrize("command", ["combine", "compare"])
def test_files_of_different_models_are_one_sentence(command, files, out, refused):
    paths = files(a=fitted_on("x"), b=fitted_on("y"))
    more = ("--out", out) if command == "combine" else ()

    assert "fitted on different models, x and y" in refused(command, *paths.values(), *more)
    assert not out.exists()


@pytest.mark.parametrize(
    ("names", "weights", "words"),
    [
        ("", "", "there is no file; name those that `seatrial fit` made"),
        ("a", "", "has nothing to be joined with; name several, or scale its vectors"),
        ("a a", "1 1", "is named twice; name it once"),
        ("a ghost", "", "ghost.safetensors does not exist; a steering is made with"),
        ("a b", "1", "must be one weight for each steering, so 2 and not 1"),
        ("a b", "1 nan", "each with a weight that is a finite number, not [1.0, nan]"),
        ("a b", "0 0", "cancel out at site 0.resid"),
        ("a far", "1 1", "only vectors at the same sites and tokens can be added up"),
        ("a words", "1 1", "only interventions that add vectors and do nothing else"),
        ("words again", "", "2 prompt edits cannot be joined"),
    ],
)
def test_a_mistake_of_combine_is_one_sentence(
    names, weights, words, files, out, tmp_path, refused
):
    files(
        a=push(1), b=push(2), far=push(3, 1),
        words=Intervention(prompt_edit=SEA), again=Intervention(prompt_edit=SEA),
    )  # fmt: skip
    given = [tmp_path / f"{name}.safetensors" for name in names.split()]
    more = ("--weights", *weights.split()) if weights else ()

    assert words in refused("combine", *given, "--out", out, *more)
    assert not out.exists()


def test_a_file_that_is_combined_is_not_written_over(files, refused):
    paths = files(a=push(1), b=push(2))

    said = refused("combine", *paths.values(), "--out", paths["b"])

    assert "is one of the files that are combined and would be lost" in said
    assert torch.equal(load(paths["b"]).edits[Site(0)].vector, normal(2))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("", "there is no file"),
        ("a a", "is named twice"),
        ("words", "none of these interventions adds a vector"),
        ("zero", "the vector of 'zero' at site 0.resid is 0"),
    ],
)
def test_a_mistake_of_compare_is_one_sentence(names, words, files, tmp_path, refused):
    files(
        a=push(1),
        words=Intervention(prompt_edit=SEA),
        zero=Intervention({Site(0): Add(torch.zeros(WIDTH))}),
    )
    given = [tmp_path / f"{name}.safetensors" for name in names.split()]

    assert words in refused("compare", *given)
