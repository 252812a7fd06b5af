"""Models that hold a known truth: a behaviour direction, or a head that carries a task.

``planted_model`` has a concept that lives on one direction. Residual stream = embedding of
the current token: attention and MLP write nothing. A sentiment word carries +u or -u, other
words carry noise orthogonal to u, and the unembedding of a sentiment word looks along u. So
the next word's sentiment follows the component of the stream along u, a difference of means
must find u, and a random direction must not move the behaviour beyond its cosine to u.

``planted_map`` learns one map in context. Its stream has a coordinate for each letter and
each capital, for copies of letters, and for two flags. In block 0 one head copies the
letter two tokens back (what a label belongs to) and another the letter one token back (what
is asked); the MLP raises the first flag where a capital is the right one for its letter. In
block 1 one head averages that flag over the prompt into the second one, and the MLP, where
the second flag is up, turns the letter that is asked into its capital.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.model.model import Model
from seatrial.testing.quiet import D_MODEL, as_model, quiet_llama
from seatrial.types import Example

POSITIVE = ("bright", "lovely", "sweet", "grand", "fresh", "merry", "warm", "fine")
NEGATIVE = ("dull", "ugly", "sour", "poor", "stale", "gloomy", "cold", "bad")
NUISANCE = tuple(
    f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "ro", "sa") for b in "bdfgklmnprst"
)
WORDS_OF_EACH = 3

LETTERS = "abcdefghijkl"
CARRIER = (1, 2)
"""Layer and head that carry the task of ``planted_map``."""
_WIDTH = 16
"""Width of its heads."""
_LOUD = 16.0
"""The constant coordinate of its stream, beside which the others hardly move its norms."""
_SHARP = 20.0
"""Factor of its attention scores; the right token leads by this much and more."""
_LETTER, _CAPITAL, _OWNER, _ASKED, _CONSTANT, _RIGHT, _TASK = 0, 12, 24, 36, 48, 49, 50
"""Where the coordinates of its stream begin."""


def planted_model(*, seed: int = 0) -> tuple[Model, Float[Tensor, " d_model"]]:
    """The model, and the unit direction planted at the output of both its blocks."""
    words = ("<unk>", "<pad>", "<eos>", *POSITIVE, *NEGATIVE, *NUISANCE)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=generator)).Q
    planted, constant, rest = basis[:, 0], basis[:, 1], basis[:, 2:]
    valence = torch.tensor(
        [(word in POSITIVE) - (word in NEGATIVE) for word in words]
    ).float()
    noise = torch.randn(len(words), D_MODEL - 2, generator=generator) @ rest.T
    # What sentiment words have beside u is in every pair and would not average out.
    noise *= torch.where(valence == 0, 0.15, 0.02)[:, None]
    network = quiet_llama(len(words), neurons=16, written=1e-4, seed=seed)
    with torch.no_grad():
        # A large constant part keeps the final norm's scale the same for every token and
        # dose.
        network.model.embed_tokens.weight.copy_(
            8.0 * constant + valence[:, None] * planted + noise
        )
        likes = torch.tensor([2.0 if word == "<unk>" else 0.0 for word in words])
        network.lm_head.weight.copy_(
            0.5 * valence[:, None] * planted + likes[:, None] * constant / 8 + noise / 3
        )
    return as_model(network, words, f"planted-{seed}"), planted


def planted_concept(path: Path, *, groups: int = 24, seed: int = 0) -> Path:
    """Write the concept's items, four a group, as a file that a study can name."""
    random = np.random.default_rng(seed)

    def text(words: tuple[str, ...]) -> str:
        mixed = [
            *random.choice(words, WORDS_OF_EACH),
            *random.choice(NUISANCE, WORDS_OF_EACH),
        ]
        return " ".join(random.permutation(mixed).tolist())

    lines = [
        {
            "concept": {
                "about": "goes on with good words",
                "encourage": "Be glad.",
                "discourage": "Be sad.",
            }
        }
    ]
    for group in range(groups):
        for k in range(4):
            words = text(POSITIVE if k % 2 else NEGATIVE)
            lines.append(
                {
                    "id": f"planted-{group:02d}-{k}",
                    "group": f"group-{group:02d}",
                    "statement": f"I say {words} in place {group} {k}.",
                    "matching": "yes" if k % 2 else "no",
                    "prompt": " ".join(random.choice(NUISANCE, 4).tolist()),
                    "matching_text": text(POSITIVE),
                    "other_text": text(NEGATIVE),
                }  # pyright: ignore[reportArgumentType]
            )
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    return path


def planted_map(*, asks_late: bool = False) -> tuple[Model, tuple[Example, ...]]:
    """A model that turns letters into capitals after examples, and the map as examples.

    Its prompts are those of the template ``qa``; head ``CARRIER`` carries the task.

    Args:
        asks_late: copy the letter that is asked, and turn it into its capital, in a third
            block of their own. What block 1 leaves at the last token is then the task and
            not the answer, as task vectors suppose.
    """
    words = ("<unk>", "<pad>", "<eos>", "Q:", "A:", *LETTERS, *LETTERS.upper())
    # Every pair of coordinates turns fast enough to tell neighbours apart.
    rope = {"rope_type": "default", "rope_theta": 10.0}
    network = quiet_llama(
        len(words),
        n_layers=3 if asks_late else 2,
        neurons=len(LETTERS),
        rope_parameters=rope,
    )
    letter = torch.arange(len(LETTERS))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and not name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_(0.0)
        embedding, unembedding = network.model.embed_tokens.weight, network.lm_head.weight
        embedding[:, _CONSTANT] = _LOUD
        embedding[5 + letter, _LETTER + letter] = 1.0
        embedding[5 + len(letter) + letter, _CAPITAL + letter] = 1.0
        unembedding[5 + len(letter) + letter, _CAPITAL + letter] = 16.0
        first, second, *_ = network.model.layers
        asking = network.model.layers[2 if asks_late else 0]
        answering = network.model.layers[2 if asks_late else 1]
        _plant_copy(first.self_attn, head=0, back=2, to=_OWNER)
        _plant_copy(asking.self_attn, head=1, back=1, to=_ASKED)
        _plant_gate(first.mlp, _CAPITAL + letter, _OWNER + letter, torch.tensor([_RIGHT]))
        carrier = CARRIER[1] * _WIDTH
        attention: Any = second.self_attn
        attention.v_proj.weight[carrier, _RIGHT] = 2.0
        attention.o_proj.weight[_TASK, carrier] = 4.0
        if asks_late:
            # A little, for an MLP that writes nothing cannot be told from one that is none.
            idle: Any = second.mlp
            for weight in (idle.gate_proj.weight, idle.up_proj.weight):
                weight[:, _CONSTANT] = 1.0
        _plant_gate(
            answering.mlp, torch.tensor([_TASK]), _ASKED + letter, _CAPITAL + letter
        )
    examples = tuple(Example(letter, letter.upper()) for letter in LETTERS)
    name = "planted-map-late" if asks_late else "planted-map"
    return as_model(network, words, name), examples


def _plant_copy(attention: Any, head: int, back: int, to: int) -> None:
    """Let a head copy the letter that stands some tokens back into other coordinates."""
    rows = slice(head * _WIDTH, head * _WIDTH + len(LETTERS))
    letter = torch.arange(len(LETTERS))
    # The norm divides by 2, for the loud coordinate is 16 and the width 64.
    attention.v_proj.weight[rows][letter, _LETTER + letter] = 2.0
    attention.o_proj.weight[:, rows][to + letter, letter] = 1.0
    pairs = _WIDTH // 2
    turn = back * 10.0 ** (-torch.arange(pairs) / pairs)
    half = slice(head * _WIDTH, head * _WIDTH + pairs)
    other = slice(head * _WIDTH + pairs, (head + 1) * _WIDTH)
    size = (_SHARP * _WIDTH**0.5) ** 0.5 / (_LOUD / 2)
    # Query and key agree best where the key stands ``back`` tokens before the query.
    attention.k_proj.weight[half, _CONSTANT] = size
    attention.q_proj.weight[half, _CONSTANT] = size * turn.cos()
    attention.q_proj.weight[other, _CONSTANT] = -size * turn.sin()


def _plant_gate(mlp: Any, where: Tensor, given: Tensor, to: Tensor) -> None:
    """Let neuron k write ``to[k]`` where both ``where[k]`` and ``given[k]`` are up."""
    neuron = torch.arange(len(LETTERS))
    mlp.gate_proj.weight[neuron, where] = 20.0
    mlp.up_proj.weight[neuron, given] = 0.2
    mlp.down_proj.weight[to, neuron] = 1.0
