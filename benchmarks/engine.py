"""A sweep over layers and doses: the engine beside one hooked forward per cell.

    make bench

Both score the same answers of the same prompts in float32. The naive way is batched and
padded as one would write it by hand: one full forward for every layer and dose, with a hook
at the edited layer. It prints the times, their ratio, and the largest difference in
log-probability.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from seatrial.data import load_concept, split
from seatrial.edits import Add
from seatrial.intervention import Intervention, Steering
from seatrial.model import Model
from seatrial.tasks import Open, Propensity
from seatrial.types import Request, Site

DOSES = (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5)


@torch.inference_mode()
def hooked(model: Model, requests: Sequence[Request], steering: Steering) -> list[float]:
    """Total log-probability of every answer: one padded forward of everything, one hook."""
    texts = [text for r in requests for text in model.encoder.encode(r.prompt, r.answers)]
    width = max(len(text.ids) for text in texts)
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    edited = torch.zeros(len(texts), width, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)
        mask[row, : len(text.ids)] = 1
        edited[row, text.n_prompt - 1 : len(text.ids)] = True
    [(site, edit)] = steering.intervention.edits.items()

    def hook(_: torch.nn.Module, __: tuple, h: Tensor) -> Tensor:
        return torch.where(edited[..., None], edit(h, steering.dose), h)

    handle = model.anatomy.blocks[site.layer].module.register_forward_hook(hook)
    try:
        logits = model.engine.network(input_ids=ids, attention_mask=mask).logits
    finally:
        handle.remove()
    log_probs = logits.float().log_softmax(-1)
    return [
        sum(
            float(log_probs[row, t - 1, text.ids[t]])
            for t in range(text.n_prompt, len(text.ids))
        )
        for row, text in enumerate(texts)
    ]


def main() -> None:
    """Run both ways on both surfaces of a built-in concept."""
    model = Model.load("smollm2-135m")
    parts = split(
        load_concept("positive-sentiment").items,
        {"fit": 0.4, "select": 0.2, "test": 0.4},
        seed=0,
    )
    generator = torch.Generator().manual_seed(0)
    layers = range(0, model.n_layers, 5)
    cells = [
        Steering(
            Intervention(
                {Site(layer): Add(torch.randn(model.d_model, generator=generator))},
                tokens="from_last_prompt",
            ),
            dose,
        )
        for layer in layers
        for dose in DOSES
    ]
    print(
        f"{model.identity}, {len(cells)} cells ({len(layers)} layers x {len(DOSES)} doses)"
    )
    print(
        f"{'surface':12} {'prompts':>7} {'hooked s':>9} {'engine s':>9} {'ratio':>6} "
        f"{'max diff':>9}"
    )
    for task in (Propensity(parts), Open(parts)):
        requests = task.requests("test")[:4]
        model.log_probs(requests, cells[:1])
        start = time.perf_counter()
        answers = model.log_probs(requests, cells)
        fast = time.perf_counter() - start
        start = time.perf_counter()
        naive = [hooked(model, requests, cell) for cell in cells]
        slow = time.perf_counter() - start
        sums = [[value for answer in line for value in answer.sums] for line in answers]
        worst = max(
            abs(a - b)
            for one, other in zip(sums, naive, strict=True)
            for a, b in zip(one, other, strict=True)
        )
        print(
            f"{task.name:12} {len(requests):7} {slow:9.1f} {fast:9.1f} {slow / fast:6.1f} "
            f"{worst:9.1e}"
        )


if __name__ == "__main__":
    main()
