"""Command lines run in this process, on tiny models and planted data."""

import json

import pytest

STUDY = """
name = "small"
doses = [-1, 1]
rule = "slope"
limit.select = 8
controls = {{ random = 3, shuffled = 2 }}
guards.prose.limit = {{ select = 3, test = 3 }}

[models.planted-0]
name = "{root}/model"

[behaviours.planted]
source = "{root}/planted.jsonl"
targets.open.limit = 12

[methods.caa]
read = "completion"
choose.layer = [0, 1]
"""


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A folder with the planted model, a chat model, a concept, a map and a study."""
    from seatrial.testing import tiny_model
    from seatrial.testing.planted import NUISANCE, planted_concept, planted_model

    root = tmp_path_factory.mktemp("cli")
    models = {"model": planted_model()[0], "chat": tiny_model("llama", chat=True)}
    for name, model in models.items():
        model.engine.network.save_pretrained(root / name)
        model.encoder.tokenizer.save_pretrained(root / name)
    planted_concept(root / "planted.jsonl", groups=12)
    pairs = zip(NUISANCE[:60], NUISANCE[12:], strict=False)
    lines = (json.dumps({"input": x, "output": y}) for x, y in pairs)
    (root / "map.jsonl").write_text("\n".join(lines))
    (root / "study.toml").write_text(STUDY.format(root=root))
    return root


@pytest.fixture
def call(capsys, monkeypatch):
    """Run a command line; returns its exit code and what it printed on both streams."""
    from seatrial import cli

    monkeypatch.setenv("COLUMNS", "200")  # for tyro
    monkeypatch.setattr(cli.OUT, "width", 200)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def refused(call):
    """Run a command line that must fail as a user's mistake; returns its sentence."""

    def run(*arguments):
        code, out, err = call(*arguments)
        lines = [line for line in err.splitlines() if line.startswith("seatrial: ")]
        assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
        assert "Traceback" not in err
        assert err.rstrip().endswith(lines[0]), err
        return lines[0]

    return run


@pytest.fixture(scope="session")
def finished(root):
    """A finished study."""
    from seatrial import cli

    assert cli.main(["run", str(root / "study.toml"), "--out", str(root / "whole")]) == 0
    return root / "whole"


@pytest.fixture(scope="session")
def vector(root):
    """A fitted vector."""
    from seatrial import cli

    out = root / "caa.safetensors"
    options = ["--model", str(root / "model"), "--concept", str(root / "planted.jsonl")]
    assert cli.main(["fit", "caa", *options, "--out", str(out), "--layer", "0"]) == 0
    return out
