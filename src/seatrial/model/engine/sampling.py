"""How the next token is drawn: temperature, nucleus, and a generator for each prompt."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from seatrial.errors import BadOption
from seatrial.files import digest


@final
@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_tokens: int = 64
    temperature: float = 0.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    seed: int = 0
    """Each prompt draws from its own generator, made from this seed and the prompt's
    tokens, so that its text does not depend on what else is in the batch; all steerings of
    a prompt share it."""
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise BadOption(f"max_tokens must be at least 1, not {self.max_tokens}")
        if not self.temperature >= 0 or not 0 < self.top_p <= 1:
            raise BadOption(
                "temperature must be at least 0 and top_p in (0, 1], not "
                f"{self.temperature} and {self.top_p}"
            )
        if "" in self.stop:
            raise BadOption(
                "an empty stop string would end every text at once; leave it out"
            )


def token_generator(seed: int, ids: tuple[int, ...]) -> torch.Generator:
    """What a prompt draws from: a generator made from the seed and its tokens."""
    drawn = digest([repr((seed, ids)).encode()])
    return torch.Generator().manual_seed(int.from_bytes(drawn[:7], "big"))


def sample_token(logits: Tensor, generator: torch.Generator, sampling: Sampling) -> int:
    """A token drawn at the temperature, from the nucleus."""
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, index = probabilities.sort(descending=True)
        # A token stays while the mass before it is below top_p, so the first always stays.
        ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(-1, index, ordered)
    return int(torch.multinomial(probabilities, 1, generator=generator))
