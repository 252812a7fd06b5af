"""Finds the parts that steering needs inside any decoder, by watching it run.

One short forward pass with a recorder on every submodule answers, without looking at names,
which modules form the chain of decoder blocks, which two tensors a block adds to the
residual stream, and which projection merges the attention heads. So a new family needs no
line here, and one whose arithmetic does not fit is refused rather than steered wrongly.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from seatrial.errors import UnsupportedModel
from seatrial.model.structure.anatomy import Anatomy, Block, Heads, Sublayer, embedding_of
from seatrial.model.structure.trace import Call, stepwise, trace

PROBE_TOKENS = 6


def dissect(model: PreTrainedModel, name: str) -> Anatomy:
    """Find blocks, sublayers, heads, final norm and unembedding of a causal decoder.

    Args:
        model: in evaluation mode.
        name: for messages.

    Raises:
        UnsupportedModel: if a part is not there, or tokens look ahead.
    """
    who = f"{name!r} ({type(model).__name__})"
    vocabulary = embedding_of(model).shape[0]
    ids = [(3 + 7 * k) % vocabulary for k in range(PROBE_TOKENS)]
    try:
        seen, cache, output = trace(model, ids)
        other_end, _, _ = trace(model, [*ids[:-1], (ids[-1] + 1) % vocabulary])
        in_steps = stepwise(model, ids)
    except (
        TypeError,
        ValueError,
        AttributeError,
        NotImplementedError,
        LookupError,
    ) as error:
        raise UnsupportedModel(
            f"{who} cannot be run as a decoder with a cache ({error}); seatrial steers "
            "causal language models of transformers"
        ) from error
    chain = _longest_chain(model, seen, who)
    _check_causal([(seen[module], other_end[module]) for module in chain], who)
    unembedding = model.get_output_embeddings()
    if unembedding is None:
        raise UnsupportedModel(
            f"{who} has no unembedding (get_output_embeddings() is None), so it gives no "
            "next-token distribution to measure"
        )
    _check_continues(output.logits[:, -1], in_steps.logits[:, -1], who)
    config = model.config.get_text_config(decoder=True)
    plain = tuple(type(layer) for layer in cache.layers)
    attends = [bool(getattr(layer, "keys", None) is not None) for layer in cache.layers]
    return Anatomy(
        blocks=tuple(
            _dissect_block(seen, module, config, index < len(attends) and attends[index])
            for index, module in enumerate(chain)
        ),
        final_norm=_final_norm(seen, chain, unembedding),
        unembedding=unembedding,
        d_model=seen[chain[-1]].output.shape[-1],
        shares_prefix=len(plain) == len(chain)
        and all(kind in (DynamicLayer, DynamicSlidingWindowLayer) for kind in plain)
        and all(attends),
        counts_columns=bool(getattr(config, "attn_temperature_tuning", False)),
    )


def _check_causal(blocks: list[tuple[Call, Call]], who: str) -> None:
    """Refuse a model whose earlier tokens change with the last one."""
    for call, other in blocks:
        here, there = call.output[:, :-1], other.output[:, :-1]
        if not torch.allclose(here, there, rtol=1e-3, atol=1e-3 * float(here.abs().max())):
            raise UnsupportedModel(
                f"{who} lets tokens see later ones (block {call.name!r}); seatrial steers "
                "causal decoders only"
            )


def _check_continues(whole: Tensor, step: Tensor, who: str) -> None:
    """Refuse a model that says something else when its text comes in two parts."""
    # Half precision differs by rounding; a cache that is ignored differs by the whole
    # context.
    eps = torch.finfo(whole.dtype).eps
    slack = max(1e-3, 16 * eps) * float(whole.float().abs().max())
    if not torch.allclose(whole.float(), step.float(), rtol=0, atol=slack):
        raise UnsupportedModel(
            f"{who} does not continue from the cache it was given, so its generated text "
            "would be wrong; seatrial needs a family that takes past_key_values"
        )


def _final_norm(
    seen: dict[nn.Module, Call], chain: tuple[nn.Module, ...], unembedding: nn.Module
) -> nn.Module | None:
    """What is fed the output of the last block; None if only the unembedding is."""
    last = seen[chain[-1]]
    inside = {part for module in chain for part in module.modules()}
    norms = [
        call
        for call in seen.values()
        if call.order > last.order
        and call.module not in inside
        and call.module is not unembedding
        and call.input is not None
        and call.input.shape == last.output.shape
        and torch.equal(call.input, last.output)
        and call.output.shape == last.output.shape
    ]
    return min(norms, key=lambda call: call.order).module if norms else None


def _longest_chain(
    model: nn.Module, seen: dict[nn.Module, Call], who: str
) -> tuple[nn.Module, ...]:
    """The module list in which each element is fed what its predecessor returned."""

    def is_chain(modules: nn.ModuleList) -> bool:
        calls = [seen.get(module) for module in modules]
        if not calls or any(
            call is None or call.calls != 1 or call.input is None for call in calls
        ):
            return False
        shapes = {(tuple(c.input.shape), tuple(c.output.shape)) for c in calls}  # pyright: ignore
        if len(shapes) != 1 or len({shape for pair in shapes for shape in pair}) != 1:
            return False
        # Rows, tokens, width; a stream of several strands (hyper-connections) has more.
        if len(min(shapes)[0]) != 3 or min(shapes)[0][:2] != (1, PROBE_TOKENS):
            return False
        return all(
            torch.equal(earlier.output, later.input)  # pyright: ignore
            for earlier, later in pairwise(calls)
        )

    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    chains = [tuple(modules) for modules in lists if is_chain(modules)]
    declared = getattr(model.config, "num_hidden_layers", None)  # pyright: ignore
    best = max(chains, key=len, default=())
    if not best or (declared is not None and len(best) != declared):
        raise UnsupportedModel(
            f"{who} is not supported: looked for a list of "
            f"{declared or 'several'} decoder blocks, each fed the output of the one "
            f"before it, and found {len(best) or 'none'} among {len(lists)} module lists"
        )
    return best


def _dissect_block(
    seen: dict[nn.Module, Call], module: nn.Module, config: Any, attends: bool
) -> Block:
    whole = seen[module]
    assert whole.input is not None
    inside = {part for part in module.modules() if part is not module}
    parts = sorted(
        (seen[part] for part in inside if part in seen), key=lambda call: call.order
    )
    added = whole.output.double() - whole.input.double()
    pair = _additive_pair(
        parts, added, whole, float(getattr(config, "residual_multiplier", 1.0))
    )
    norm = _input_norm(parts, whole)
    if pair is None:
        return Block(module, None, None, None, whole.tuple_length, norm)
    mixer, mlp, scale = pair

    def sublayer(call: Call) -> Sublayer:
        return Sublayer(call.module, scale, call.output.ndim != added.ndim)

    if not attends:
        return Block(module, None, sublayer(mlp), None, whole.tuple_length, norm)
    n_heads = config.num_attention_heads
    projections = [
        call
        for call in parts
        if call.order <= mixer.order
        and isinstance(getattr(call.module, "weight", None), Tensor)
        and call.module.weight.ndim == 2
        and call.input is not None
        and call.input.ndim == call.output.ndim
        and call.output.shape == added.shape
        and call.input.shape[-1] % n_heads == 0
    ]
    heads = None
    if projections:
        last = projections[-1]
        assert last.input is not None
        heads = Heads(last.module, n_heads, last.input.shape[-1] // n_heads)
    return Block(module, sublayer(mixer), sublayer(mlp), heads, whole.tuple_length, norm)


def _input_norm(parts: list[Call], whole: Call) -> nn.Module | None:
    """The first module without parts or matrix that changes the block's very input."""
    assert whole.input is not None
    for call in parts:
        is_leaf = next(call.module.children(), None) is None
        has_matrix = any(weight.ndim > 1 for weight in call.module.parameters())
        if (
            is_leaf
            and not has_matrix
            and call.input is not None
            and call.output.shape == whole.input.shape
            and torch.equal(call.input, whole.input)
            and not torch.equal(call.output, whole.input)
        ):
            return call.module
    return None


def _additive_pair(
    parts: list[Call], added: Tensor, whole: Call, multiplier: float
) -> tuple[Call, Call, float] | None:
    """The two submodules whose outputs sum to what the block adds, the earlier one first.

    Where several modules return the same tensor (a projection, the dropout after it, the
    sublayer around both), the innermost earliest is taken: it is the one that exists in
    every calling order.
    """
    candidates = [
        call
        for call in parts
        if call.calls == 1
        and call.output.numel() == added.numel()
        and call.output.shape[-1] == added.shape[-1]
    ]
    # Flattened outputs (OPT's MLP, Mixtral's experts) only where no other has the value.
    candidates.sort(key=lambda call: call.output.ndim != added.ndim)
    flat = [call.output.double().reshape(added.shape) for call in candidates]
    assert whole.input is not None
    size = float(torch.stack([whole.input.abs().max(), whole.output.abs().max()]).max())
    tolerance = 32 * torch.finfo(whole.output.dtype).eps * max(size, 1e-6)
    best: tuple[float, int, int, float] | None = None
    for scale in dict.fromkeys((1.0, multiplier)):
        for i in range(len(candidates)):
            for j in range(i + 1, len(candidates)):
                error = float((added - scale * (flat[i] + flat[j])).abs().max())
                # In half precision several pairs can pass; the true one is clearly the
                # nearest.
                if error <= tolerance and (best is None or error < 0.5 * best[0]):
                    best = (error, i, j, scale)
    if best is None:
        return None
    first, second = sorted(
        (candidates[best[1]], candidates[best[2]]), key=lambda call: call.order
    )
    return first, second, best[3]
