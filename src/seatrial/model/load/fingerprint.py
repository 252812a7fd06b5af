"""Fingerprints of weights, from samples of them: what tells one model from another."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seatrial.files import short_hash

CHUNK, CHUNKS, HEAD = 4096, 1024, 65536
"""Bytes of a sample, samples of a file, bytes of its beginning (names and shapes)."""


def fingerprint_of_files(files: Iterable[Path]) -> str:
    """12 hex digits of weight files, from samples of them: fast at any size.

    Names, sizes, the first 64 KiB and 1024 evenly spaced chunks of 4 KiB: close enough that
    an edit of a single matrix is seen, while an edit of a few numbers can be missed.
    """
    return short_hash(_samples_of_files(files))


def _samples_of_files(files: Iterable[Path]) -> Iterator[bytes]:
    for file in sorted(files, key=lambda file: file.name):
        size = file.stat().st_size
        yield f"{file.name}\0{size}\0".encode()
        with file.open("rb", buffering=0) as stream:
            if size <= HEAD + CHUNK * CHUNKS:
                yield stream.read()
                continue
            yield stream.read(HEAD)
            for index in range(CHUNKS):
                stream.seek(index * (size - CHUNK) // (CHUNKS - 1))
                yield stream.read(CHUNK)


@torch.no_grad()
def fingerprint_of_parameters(model: nn.Module) -> str:
    """12 hex digits of a model in memory: names, shapes, up to 256 values a tensor."""
    return short_hash(_samples_of_parameters(model))


def _samples_of_parameters(model: nn.Module) -> Iterator[bytes]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        yield f"{name}\0{tuple(tensor.shape)}\0".encode()
        flat = tensor.detach().reshape(-1)
        if flat.numel() == 0:
            continue
        steps = np.linspace(0, flat.numel() - 1, min(256, flat.numel())).astype(np.int64)
        sample = flat[torch.from_numpy(steps).to(flat.device)]
        yield sample.to("cpu", torch.float32).numpy().tobytes()
