"""What is loaded is a causal language model, whole; anything else is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, LlamaForCausalLM

from seatrial import errors
from seatrial.model.load.load import load_weights
from seatrial.model.load.locate import locate

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}


def test_damaged_gguf_is_refused(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF and nothing else")

    with pytest.raises(errors.BadFile, match=r"tiny\.gguf cannot be read as GGUF"):
        load_weights(locate(str(tmp_path / "tiny.gguf")))


def test_tiny_folder_loads(folder):
    model, tokenizer, card = load_weights(locate(str(folder)))

    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert tokenizer.decode(tokenizer("a  1")["input_ids"]) == "a  1"
    assert (card.name, card.source, type(model)) == ("tiny", "folder", LlamaForCausalLM)
    assert (model.dtype, model.config._attn_implementation) == (torch.float32, "sdpa")


def test_loading_prints_nothing(folder, capfd):
    load_weights(locate(str(folder)))

    assert capfd.readouterr() == ("", "")


def test_dtype_and_attention_can_be_chosen(folder):
    model, _, _ = load_weights(
        locate(str(folder)), dtype="bfloat16", device="cpu", attention="eager"
    )

    assert (model.dtype, model.config._attn_implementation) == (torch.bfloat16, "eager")


def test_identity_does_not_depend_on_dtype(folder):
    source = locate(str(folder))

    _, _, full = load_weights(source)
    _, _, half = load_weights(source, dtype="bfloat16")

    assert full.identity == half.identity == f"tiny (folder, {full.fingerprint})"
    assert len(full.fingerprint) == 12


def test_identity_changes_when_one_weight_changes(copy):
    _, _, before = load_weights(locate(str(copy)))
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] += 0.1
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    _, _, after = load_weights(locate(str(copy)))

    assert after.identity != before.identity


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
        load_weights(locate(str(folder)), **option)


def test_corrupt_safetensors_are_refused(copy):
    (copy / "model.safetensors").write_bytes(b"\x10" * 5000)

    with pytest.raises(errors.BadFile, match=r"weights in .* cannot be read"):
        load_weights(locate(str(copy)))


def test_truncated_safetensors_are_refused(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-400])

    with pytest.raises(errors.BadFile, match=r"weights in .* cannot be read"):
        load_weights(locate(str(copy)))


def test_missing_tensors_are_refused_rather_than_made_up(copy):
    tensors = load_file(copy / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(
        errors.BadFile, match=r"lack 1 of .* model\.layers\.0\.mlp\.up_proj"
    ):
        load_weights(locate(str(copy)))


def test_weights_of_another_shape_are_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))

    with pytest.raises(errors.BadFile, match=r"weights in .* cannot be read"):
        load_weights(locate(str(copy)))


def test_missing_tokenizer_is_refused(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()

    with pytest.raises(errors.BadFile, match=r"tokenizer in .* cannot be read"):
        load_weights(locate(str(copy)))


def test_config_that_is_no_json_is_refused(copy):
    (copy / "config.json").write_text("{")

    with pytest.raises(errors.BadFile, match=r"config\.json is not JSON"):
        load_weights(locate(str(copy)))


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
        load_weights(locate(str(copy)))


def test_masked_language_model_is_refused(tmp_path):
    config = BertConfig(
        vocab_size=20, num_attention_heads=2, max_position_embeddings=8, **SIZES
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)

    with pytest.raises(
        errors.UnsupportedModel, match="BertForMaskedLM, not a causal language"
    ):
        load_weights(locate(str(tmp_path)))
