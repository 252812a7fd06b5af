"""The slow obvious way: what every shortcut of the engine must equal."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seatrial.model.model import Model
from seatrial.model.structure.hooks import hook_site
from seatrial.model.structure.outputs import first_tensor
from seatrial.steering.edits import Edit
from seatrial.steering.intervention import UNSTEERED, Steering, scope_span
from seatrial.steering.readout import Depths
from seatrial.types import Prompt, Request


@torch.inference_mode()
def naive_logits(
    model: Model, ids: Sequence[int], n_prompt: int, steering: Steering
) -> Tensor:
    """Logits of one unpadded sequence, without any cache: ``token x vocabulary``.

    A readout changes distributions rather than logits, so ``naive_log_dist`` has it.
    """
    return _logits(model, ids, n_prompt, steering, ExitStack())


@torch.inference_mode()
def naive_log_dist(
    model: Model, ids: Sequence[int], n_prompt: int, steering: Steering
) -> Float[Tensor, "token vocabulary"]:
    """Log-probabilities of the token after each one of an unpadded sequence.

    What a readout sees of an early block is what the network itself, with its own final
    norm and unembedding, makes of that block's output: one more whole forward for each.
    """
    final = naive_logits(model, ids, n_prompt, steering).float().log_softmax(-1)
    readout = steering.intervention.readout
    if readout is None or steering.dose == 0:
        return final
    early = {}
    for layer in readout.layers:
        states = _block_output(model, ids, n_prompt, steering, layer)
        with ExitStack() as stack:
            if readout.norm == "next_block":
                states = _behind_the_norm_after(model, layer, states)
            _put_in_front_of_norm_or_unembedding(model, states, readout.norm, stack)
            logits = _logits(model, ids, n_prompt, steering, stack)
        early[layer] = logits.float().log_softmax(-1)
    return readout(Depths(final, early), steering.dose)


def _logits(
    model: Model,
    ids: Sequence[int],
    n_prompt: int,
    steering: Steering,
    stack: ExitStack,
) -> Tensor:
    """Logits of one forward call with the edits hooked in, beside what the stack holds."""
    intervention, dose = steering
    assert intervention.gate is None or dose == 0, "naive_acting decides gates"
    with stack:
        for part in intervention.parts:
            start, stop = scope_span(part.tokens, n_prompt, len(ids))
            for site, edit in part.edits.items():

                def transform(
                    h: Tensor, edit: Edit = edit, start: int = start, stop: int = stop
                ) -> Tensor:
                    edited = edit(h[:, start:stop], dose)
                    return torch.cat([h[:, :start], edited, h[:, stop:]], dim=1)

                hook_site(model.structure, site, transform, stack)
        tokens = torch.tensor([list(ids)], device=model.engine.device)
        return model.engine.network(input_ids=tokens, use_cache=False).logits[0]


def _block_output(
    model: Model, ids: Sequence[int], n_prompt: int, steering: Steering, layer: int
) -> Float[Tensor, "1 token d_model"]:
    """What enters the next block, edits included; of block -1, the embeddings."""
    seen: list[Tensor] = []

    def look(_: nn.Module, args: tuple, kwargs: dict) -> None:
        h = first_tensor([*args, *kwargs.values()])
        assert h is not None
        seen.append(h.clone())

    with ExitStack() as stack:
        following = [block.module for block in model.structure.blocks][layer + 1 :]
        module = (*following, model.structure.final_norm)[0]
        assert module is not None
        handle = module.register_forward_pre_hook(look, with_kwargs=True)
        stack.callback(handle.remove)
        _logits(model, ids, n_prompt, steering, stack)
    return seen[0]


def _behind_the_norm_after(model: Model, layer: int, states: Tensor) -> Tensor:
    """A block's output as the next block reads it; of the last, as the unembedding does."""
    norms = [block.input_norm for block in model.structure.blocks]
    norm = [*norms, model.structure.final_norm][layer + 1]
    assert norm is not None
    return norm(states)


def _put_in_front_of_norm_or_unembedding(
    model: Model, states: Tensor, norm: str, stack: ExitStack
) -> None:
    """Let the network end as if its blocks had returned these states."""
    module = model.structure.final_norm
    assert module is not None

    def before(_: nn.Module, args: tuple) -> tuple[Any, ...]:
        return (states, *args[1:])

    def after(_: nn.Module, __: tuple, ___: Tensor) -> Tensor:
        return states

    if norm == "final":
        stack.callback(module.register_forward_pre_hook(before).remove)
    else:
        stack.callback(module.register_forward_hook(after).remove)


@torch.inference_mode()
def naive_acting(model: Model, prompt: Prompt, steering: Steering) -> Steering:
    """What acts on a prompt: the steering, or ``UNSTEERED`` where its gate stays shut."""
    intervention, dose = steering
    gate = intervention.gate
    if gate is None or dose == 0:
        return steering
    ids = model.encoder.prompt_ids(prompt)
    seen: list[Tensor] = []
    with ExitStack() as stack:
        hook_site(model.structure, gate.site, seen.append, stack)
        tokens = torch.tensor([ids], device=model.engine.device)
        model.engine.network(input_ids=tokens, use_cache=False)
    states = seen[0][0].double().cpu()
    if gate.read == "mean":
        has_bos = ids[0] == model.encoder.tokenizer.bos_token_id
        h = states[int(has_bos) :].mean(0)
    else:
        h = states[-1]
    other = gate.vector.double()
    if gate.similarity == "published":
        other = (torch.outer(other, other) / (other @ other) @ h).tanh()
    cosine = h @ other / (h.norm() * other.norm())
    fires = {"above": cosine > gate.threshold, "below": cosine < gate.threshold}
    if fires[gate.fires]:
        return Steering(replace(intervention, gate=None), dose)
    return UNSTEERED


def naive_log_probs(
    model: Model, requests: Sequence[Request], under: Sequence[Steering]
) -> list[list[list[Tensor]]]:
    """``[steering][request][answer]`` -> log-probability of each answer token."""
    results = []
    for steering in under:
        line = []
        for request in requests:
            prompt = request.prompt
            acting = naive_acting(model, prompt, steering)
            if acting.intervention.prompt_edit is not None:
                prompt = acting.intervention.prompt_edit(prompt, acting.dose)
            scores = []
            for text in model.encoder.encode(prompt, request.answers):
                log_dist = naive_log_dist(model, text.ids, text.n_prompt, acting)
                scored = range(text.n_prompt, len(text.ids))
                scores.append(torch.stack([log_dist[t - 1, text.ids[t]] for t in scored]))
            line.append(scores)
        results.append(line)
    return results


def naive_greedy(
    model: Model, ids: Sequence[int], steering: Steering, max_tokens: int
) -> list[int]:
    """Greedy continuation by running the whole sequence again for every token.

    A steering with a gate goes through ``naive_acting`` first, which knows the prompt.
    """
    whole = list(ids)
    for _ in range(max_tokens):
        whole.append(int(naive_log_dist(model, whole, len(ids), steering)[-1].argmax()))
    return whole[len(ids) :]
