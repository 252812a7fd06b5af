"""Benchmark 6: the residual stream after every layer, at the last token of 256 passages."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.naive import padded
from benchmarks.prompts import passages
from benchmarks.rows import Row, steadily
from seatrial.model import Model
from seatrial.model.load.locate import locate
from seatrial.types import Site

PEERS = Path("runs/peers")
BATCH = 32


def run(model: Model, *, tiny: bool = False) -> Iterator[Row]:
    """Against transformers here, and against the peers in their own environment."""
    texts = passages(8 if tiny else 256)
    sites = [Site(layer) for layer in range(model.n_layers)]
    ids = [model.encoder.encode_text(text).ids for text in texts]
    model.activations(texts[:4], sites, "last")
    seconds, found = steadily(lambda: model.activations(texts, sites, "last"))
    ours = torch.stack([found[site] for site in sites])
    length = sum(map(len, ids)) / len(ids)
    sizes = (
        f"{len(sites)} layers, {len(texts)} texts of {length:.0f} tokens; "
        f"batches of {BATCH}"
    )

    def row(against: str, taken: float, theirs: Tensor, layers: int) -> Row:
        gap = (theirs[:layers] - ours[:layers]).abs().amax((1, 2))
        relative = float((gap / ours[:layers].abs().amax((1, 2))).max())
        return Row(
            "6 activations of all layers",
            model.card.name,
            against,
            sizes,
            taken,
            "all",
            taken,
            seconds,
            relative,
            unit="of the largest",
            goal=1.5,
        )

    network = model.engine.network
    ways: dict[str, Callable] = {
        "transformers, output_hidden_states": network,
        "transformers, without its unembedding": network.base_model,
    }
    for name, call in ways.items():
        hidden(call, ids[:4])
        taken, theirs = steadily(lambda call=call: hidden(call, ids))
        # What it calls the last hidden state has passed the final norm.
        yield row(name, taken, theirs, len(sites) - 1)
    for peer in ("nnsight", "steering-vectors"):
        if answer := ask_peer(peer, model.card.name, ids):
            name, taken, theirs = answer
            yield row(name, taken, theirs, len(sites))


@torch.inference_mode()
def hidden(call: Callable, texts: list[tuple[int, ...]]) -> Tensor:
    """Layer x text x d_model, by an ordinary padded forward."""
    parts = []
    for first in range(0, len(texts), BATCH):
        ids, mask = padded(texts[first : first + BATCH])
        output = call(
            input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True
        )
        rows, last = torch.arange(len(ids)), mask.sum(1) - 1
        parts.append(torch.stack([h[rows, last] for h in output.hidden_states[1:]]))
    return torch.cat(parts, dim=1)


def ask_peer(
    peer: str, model: str, texts: list[tuple[int, ...]]
) -> tuple[str, float, Tensor] | None:
    """Name with version, seconds and activations; nothing if it is not installed."""
    python = PEERS / ".venv/bin/python"
    if not python.exists():
        print(f"{peer} is not installed; `make bench-peers` does it", flush=True)
        return None
    question, result = PEERS / "texts.json", PEERS / f"{peer}.pt"
    question.write_text(json.dumps({"texts": texts, "batch": BATCH}))
    done = subprocess.run(
        [
            str(python),
            "benchmarks/peers/extract.py",
            peer,
            str(locate(model).path),
            str(question),
            str(result),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(f"{peer} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
        return None
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["name"], answer["seconds"], torch.load(result, weights_only=True)
