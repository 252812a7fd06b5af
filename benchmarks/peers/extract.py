"""A peer library reads the residual stream after every layer at the last token of texts.

    runs/peers/.venv/bin/python benchmarks/peers/extract.py PEER MODEL TEXTS RESULT

Runs in the peers' own environment (``make bench-peers``). The texts come as token ids. It
prints one line of JSON with the median of three times, and writes the activations.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

Read = Callable[[Tensor, Tensor], list[Tensor]]
"""From padded ids and their mask to the last token's states, layer by layer."""


def by_nnsight(model: torch.nn.Module) -> Read:
    """Values saved inside a trace."""
    from nnsight import NNsight

    traced = NNsight(model)

    def read(ids: Tensor, mask: Tensor) -> list[Tensor]:
        rows, last = torch.arange(len(ids)), mask.sum(1) - 1
        with (
            torch.inference_mode(),
            traced.trace(input_ids=ids, attention_mask=mask, use_cache=False),
        ):
            found = list().save()
            for layer in traced.model.layers:
                h = layer.output
                h = h[0] if isinstance(h, tuple) else h
                found.append(h[rows, last])
        return list(found)

    return read


def by_steering_vectors(model: torch.nn.Module) -> Read:
    """Its recorder, which its function for batches of texts uses as well."""
    from steering_vectors import record_activations

    def read(ids: Tensor, mask: Tensor) -> list[Tensor]:
        rows, last = torch.arange(len(ids)), mask.sum(1) - 1
        with torch.inference_mode(), record_activations(model) as recorded:
            model(input_ids=ids, attention_mask=mask, use_cache=False)
        return [recorded[layer][0][rows, last] for layer in sorted(recorded)]

    return read


PEERS = {"nnsight": by_nnsight, "steering-vectors": by_steering_vectors}


def everything(read: Read, texts: Sequence[Sequence[int]], batch: int) -> Tensor:
    """Layer x text x d_model."""
    parts = []
    for first in range(0, len(texts), batch):
        some = texts[first : first + batch]
        width = max(map(len, some))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in some])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in some])
        parts.append(torch.stack(read(ids, mask)))
    return torch.cat(parts, dim=1)


def main() -> None:
    """Time one peer."""
    peer, folder, question, result = sys.argv[1:]
    asked = json.loads(Path(question).read_text())
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    ).eval()
    read = PEERS[peer](model)
    everything(read, asked["texts"][:4], asked["batch"])
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = everything(read, asked["texts"], asked["batch"])
        times.append(time.perf_counter() - start)
    torch.save(found.clone(), result)
    name = f"{peer} {version(peer)} (transformers {version('transformers')})"
    print(json.dumps({"name": name, "seconds": statistics.median(times)}))


if __name__ == "__main__":
    main()
