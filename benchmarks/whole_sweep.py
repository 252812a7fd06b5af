"""All layers x 7 doses x 200 items x 4 concepts on one model, with time and peak memory.

    SEATRIAL_MIRROR=../shared/data python -m benchmarks.whole_sweep [--letters]
        [--out-of-memory]

The items are yes/no statements of published persona sets. With ``--letters`` they are asked
as lettered options, whose answers such as "(A)" are three tokens.

With ``--out-of-memory`` it is done twice: undisturbed, and with one forward call in ten
running out of memory, whatever its size; the largest difference between both is printed.
"""

import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from seatrial.data.records import ChoiceItem
from seatrial.data.sources import clean_prompt, load_dataset
from seatrial.model import Model
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention, Steering
from seatrial.types import Request, Site

SETS = (
    "persona/conscientiousness",
    "persona/interest-in-music",
    "persona/openness",
    "persona/narcissism",
)
ITEMS = 200
DOSES = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)


def requests_of(name: str, *, letters: bool) -> list[Request]:
    """A sample of a published persona set, as questions for yes or no or for a letter."""
    items = [item for item in load_dataset(name) if isinstance(item, ChoiceItem)]
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0))
    found = []
    for item in (items[k] for k in order[:ITEMS].tolist()):
        lettered = clean_prompt(item)
        if letters:
            found.append(Request(item.id, item.group, lettered.prompt, lettered.answers))
            continue
        prompt = f"{item.question}\nAnswer with yes or no:"
        answers = tuple(f" {item.options[k]}" for k in (item.correct, item.other))
        found.append(Request(item.id, item.group, prompt, answers))
    return found


def sweep(model: Model, concepts: Sequence[Sequence[Request]]) -> list[np.ndarray]:
    """Log-probabilities of all answers, by concept: ``steering x answer``."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for requests in concepts:
        vectors = torch.randn(model.n_layers, model.d_model, generator=generator)
        under = [
            Steering(intervention, dose)
            for intervention in (
                Intervention({Site(layer): Add(vector)}, tokens="from_last_prompt")
                for layer, vector in enumerate(vectors)
            )
            for dose in DOSES
        ]
        answers = model.log_probs(requests, under)
        found.append(np.array([[x for a in line for x in a.sums] for line in answers]))
    return found


def fail_sometimes(model: Model) -> list[int]:
    """Let one forward call in ten run out of memory; returns a list that counts them."""
    run, calls = model.engine.forward.run, [0, 0]

    def failing(*args, **kwargs):  # type: ignore[no-untyped-def]
        calls[0] += 1
        grove = args[0]
        if calls[0] % 10 == 0 and len(grove.trees) > 1:
            calls[1] += 1
            raise torch.OutOfMemoryError("artificial")
        return run(*args, **kwargs)

    model.engine.forward.run = failing
    return calls


def main() -> None:
    """Sweep, and print what it took."""
    model = Model.load("smollm2-135m")
    concepts = [requests_of(name, letters="--letters" in sys.argv) for name in SETS]
    lengths = [
        len(model.encoder.prompt_ids(request.prompt))
        for line in concepts
        for request in line
    ]
    model.log_probs(concepts[0][:2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    plain = sweep(model, concepts)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cells = model.n_layers * len(DOSES) * sum(map(len, concepts))
    print(
        f"{model.n_layers} layers x {len(DOSES)} doses x {ITEMS} items x {len(SETS)} "
        f"concepts ({np.mean(lengths):.0f} tokens a prompt): {cells} cells in "
        f"{seconds:.1f} s; peak memory {peak:.2f} GiB, of which {before:.2f} GiB before"
    )
    if "--out-of-memory" in sys.argv:
        calls = fail_sometimes(model)
        start = time.perf_counter()
        disturbed = sweep(model, concepts)
        worst = max(np.abs(a - b).max() for a, b in zip(plain, disturbed, strict=True))
        print(
            f"again with {calls[1]} of {calls[0]} forward calls out of memory: "
            f"{time.perf_counter() - start:.1f} s, largest difference {worst:.1e} nats, "
            f"token limit {model.engine.meter.tokens}"
        )


if __name__ == "__main__":
    main()
