"""The slow obvious way: what every shortcut of the engine must equal."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from seatrial.intervention import Steering, scope_span
from seatrial.model.hooks import hook_site
from seatrial.model.model import Model
from seatrial.types import Request, Site


@torch.inference_mode()
def naive_logits(
    model: Model, ids: Sequence[int], n_prompt: int, steering: Steering
) -> Tensor:
    """Logits of one unpadded sequence, without any cache: ``token x vocabulary``."""
    intervention, dose = steering
    start, stop = scope_span(intervention.tokens, n_prompt, len(ids))
    with ExitStack() as stack:
        for site in intervention.edits:

            def transform(h: Tensor, site: Site = site) -> Tensor:
                parts = [h[:, :start], h[:, start:stop], h[:, stop:]]
                parts[1] = intervention.edits[site](parts[1], dose)
                return torch.cat(parts, dim=1)

            hook_site(model.anatomy, site, transform, stack)
        tokens = torch.tensor([list(ids)], device=model.engine.device)
        return model.engine.network(input_ids=tokens, use_cache=False).logits[0]


def naive_log_probs(
    model: Model, requests: Sequence[Request], under: Sequence[Steering]
) -> list[list[list[Tensor]]]:
    """``[steering][request][answer]`` -> log-probability of each answer token."""
    results = []
    for steering in under:
        line = []
        for request in requests:
            prompt = request.prompt
            if steering.intervention.prompt is not None:
                prompt = steering.intervention.prompt(prompt, steering.dose)
            scores = []
            for text in model.encoder.encode(prompt, request.answers):
                logits = naive_logits(model, text.ids, text.n_prompt, steering)
                log_dist = logits.float().log_softmax(-1)
                scored = range(text.n_prompt, len(text.ids))
                scores.append(torch.stack([log_dist[t - 1, text.ids[t]] for t in scored]))
            line.append(scores)
        results.append(line)
    return results


def naive_greedy(
    model: Model, ids: Sequence[int], steering: Steering, max_tokens: int
) -> list[int]:
    """Greedy continuation by running the whole sequence again for every token."""
    whole = list(ids)
    for _ in range(max_tokens):
        whole.append(int(naive_logits(model, whole, len(ids), steering)[-1].argmax()))
    return whole[len(ids) :]
