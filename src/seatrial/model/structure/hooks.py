"""Hooks that live for one forward call: at sites, around blocks, at the unembedding."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seatrial.model.structure.anatomy import Anatomy
from seatrial.model.structure.outputs import first_tensor, with_first_tensor
from seatrial.types import Site


def module_at(anatomy: Anatomy, site: Site) -> nn.Module:
    """The module whose output (for heads: input) is the site's quantity, but for scale."""
    block = anatomy.blocks[site.layer]
    match site.point:
        case "resid":
            return block.module
        case "attn":
            assert block.attn is not None
            return block.attn.module
        case "mlp":
            assert block.mlp is not None
            return block.mlp.module
        case "heads":
            assert block.heads is not None
            return block.heads.projection


def scale_at(anatomy: Anatomy, site: Site) -> float:
    """What the module's output is multiplied by before it joins the residual stream."""
    block = anatomy.blocks[site.layer]
    sublayer = {"attn": block.attn, "mlp": block.mlp}.get(site.point)
    return sublayer.scale if sublayer else 1.0


Transform = Callable[[Tensor], Tensor | None]
"""Sees the quantity at a site; returns what takes its place, or ``None`` to leave it."""


def hook_site(anatomy: Anatomy, site: Site, transform: Transform, stack: ExitStack) -> None:
    """Pass a site's quantity through ``transform`` until the stack closes.

    The embeddings, which enter block 0, are the output of a block -1.
    """
    if site.layer == -1:

        def on_entering(_: nn.Module, args: tuple, kwargs: dict) -> None:
            h = first_tensor(args) if args else first_tensor(list(kwargs.values()))
            assert h is not None and transform(h) is None

        first = anatomy.blocks[0].module
        handle = first.register_forward_pre_hook(on_entering, with_kwargs=True)
        stack.callback(handle.remove)
        return
    module, scale = module_at(anatomy, site), scale_at(anatomy, site)
    block = anatomy.blocks[site.layer]
    sublayer = {"attn": block.attn, "mlp": block.mlp}.get(site.point)
    entering: list[torch.Size] = []

    def on_block(_: nn.Module, args: tuple, kwargs: dict) -> None:
        h = first_tensor(args) if args else first_tensor(list(kwargs.values()))
        assert h is not None
        entering[:] = [h.shape]

    if sublayer is not None and sublayer.is_flat:
        handle = block.module.register_forward_pre_hook(on_block, with_kwargs=True)
        stack.callback(handle.remove)

    def on_input(_: nn.Module, args: tuple) -> tuple | None:
        new = transform(args[0])
        return None if new is None else (new, *args[1:])

    def on_output(_: nn.Module, __: tuple, output: Any) -> Any:
        h = first_tensor(output)
        assert h is not None
        shape = h.shape
        h = h.reshape(entering[0][0], -1, shape[-1]) if entering else h
        new = transform(h if scale == 1.0 else h * scale)
        if new is None:
            return None
        new = new if scale == 1.0 else new / scale
        return with_first_tensor(output, new.reshape(shape))

    if site.point == "heads":
        stack.callback(module.register_forward_pre_hook(on_input).remove)
    else:
        stack.callback(module.register_forward_hook(on_output).remove)


@contextmanager
def reading(
    anatomy: Anatomy, sites: Sequence[Site], keep: Callable[[Site, Tensor], None]
) -> Iterator[None]:
    """Hand a copy of every site's quantity to ``keep`` in the forward calls made inside."""
    with ExitStack() as stack:
        for site in sites:

            def look(h: Tensor, site: Site = site) -> None:
                # A copy, because some families (Falcon) add in place to what a sublayer
                # returned.
                keep(site, h.detach().clone())

            hook_site(anatomy, site, look, stack)
        yield


@contextmanager
def replaying(
    anatomy: Anatomy,
    hidden: Float[Tensor, "row token d_model"] | None,
    active: Sequence[int],
    enter: Callable[[int], None] = lambda _: None,
) -> Iterator[None]:
    """Run every block over the first ``active[block]`` tokens only; others pass by.

    The model's own code around the blocks still runs, so masks, rotary tables and the
    final norm are made for the tokens at hand by the family itself.

    Args:
        anatomy: of the network that will run.
        hidden: what enters the first block that sees a token, for all tokens: each holds
            what the unsteered model has where it joins. ``None`` takes the embeddings.
        active: how many tokens each block works on, never fewer than the one before.
        enter: told the block that is about to run.
    """
    length = anatomy.blocks[0].tuple_length

    def wrap(index: int, original: Callable) -> Callable:
        count = active[index]

        def forward(h: Tensor, *args: Any, **kwargs: Any) -> Any:
            if index == 0 and hidden is not None:
                h = hidden.to(h.device)
            if count == 0:
                return (h, *[None] * (length - 1)) if length else h
            enter(index)
            total = h.shape[1]
            if count == total:
                return original(h, *args, **kwargs)
            args, kwargs = _first(args, count, total), _first(kwargs, count, total)
            output = original(h[:, :count], *args, **kwargs)
            new = first_tensor(output)
            assert new is not None
            return with_first_tensor(output, torch.cat([new, h[:, count:]], dim=1))

        return forward

    modules = [block.module for block in anatomy.blocks]
    # accelerate puts a forward of its own on the instance, which must come back afterwards.
    earlier = [module.__dict__.get("forward") for module in modules]
    try:
        for index, module in enumerate(modules):
            module.forward = wrap(index, module.forward)
        yield
    finally:
        for module, forward in zip(modules, earlier, strict=True):
            if forward is None:
                module.__dict__.pop("forward", None)
            else:
                module.forward = forward


def _first(value: Any, count: int, total: int) -> Any:
    """The part of a block's argument that belongs to the first ``count`` tokens."""
    if isinstance(value, Tensor):
        if value.ndim == 1 and len(value) == total:
            return value[:count]
        return value[:, :count] if value.ndim > 1 and value.shape[1] == total else value
    if isinstance(value, (tuple, list)):
        return type(value)(_first(part, count, total) for part in value)
    if isinstance(value, dict):
        return {name: _first(part, count, total) for name, part in value.items()}
    return value


@contextmanager
def final_states(unembedding: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what enters the unembedding in the forward calls made inside, and skip it.

    The logits of these calls are meaningless: one number a token.
    """
    states: list[Tensor] = []

    def forward(h: Tensor) -> Tensor:
        states.append(h)
        return h[..., :1]

    earlier = unembedding.__dict__.get("forward")
    try:
        unembedding.forward = forward
        yield states
    finally:
        if earlier is None:
            unembedding.__dict__.pop("forward", None)
        else:
            unembedding.forward = earlier
