"""Edits at work: hooks that live for one forward call and prove that they did something."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seatrial.edits import Edit
from seatrial.errors import SteeringFault, UnsupportedModel
from seatrial.model.blocks import Anatomy, first_tensor, with_first_tensor
from seatrial.model.layout import Layout
from seatrial.types import Site


@final
@dataclass
class Segment:
    """Consecutive rows of a batch under one set of edits, each row at its own dose."""

    start: int
    stop: int
    edits: Mapping[Site, Edit]
    doses: Float[Tensor, " row"]
    mask: Bool[Tensor, "row token"]
    """Which tokens are edited."""
    fired: set[Site] = field(default_factory=set)
    changed: dict[Site, Bool[Tensor, " row"]] = field(default_factory=dict)

    def apply(self, site: Site, h: Float[Tensor, "row token width"]) -> None:
        """Edit the tokens of this segment in place; other positions keep their bits."""
        rows, tokens = self.mask.to(h.device).nonzero(as_tuple=True)
        before = h[self.start + rows, tokens]
        after = self.edits[site](before, self.doses.to(h)[rows])
        changed = torch.zeros(len(self.mask), dtype=torch.bool, device=h.device)
        changed[rows[(before != after).any(-1)]] = True
        self.fired.add(site)
        self.changed[site] = changed.cpu() | self.changed.get(site, False)
        h[self.start + rows, tokens] = after


def check_sites(anatomy: Anatomy, sites: Iterable[Site], name: str) -> None:
    """Refuse sites that the model does not have.

    Raises:
        UnsupportedModel: if a block has no such sublayer.
    """
    for site in sites:
        block = anatomy.blocks[site.layer]
        if site.point != "resid" and getattr(block, site.point) is None:
            kinds = ", ".join(
                point
                for point in ("resid", "attn", "mlp", "heads")
                if point == "resid" or getattr(block, point) is not None
            )
            raise UnsupportedModel(
                f"block {site.layer} of {name!r} has no {site.point!r} site that could be "
                f"found by its arithmetic; its sites are: {kinds}"
            )


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
def steering(
    anatomy: Anatomy, segments: Sequence[Segment], layout: Layout | None = None
) -> Iterator[None]:
    """Apply every segment's edits to its rows of the forward calls made inside.

    Args:
        anatomy: of the network that will run.
        segments: what is edited.
        layout: how the rows of the segments stand in the network's tensors; by default
            they are the rows of the batch.

    Raises:
        SteeringFault: on leaving, if an edit with something to edit did not run, or ran at
            a dose other than 0 and changed not a single bit (trap T1).
    """
    active = [segment for segment in segments if bool(segment.mask.any())]
    sites = sorted({site for segment in active for site in segment.edits})
    with ExitStack() as stack:
        for site in sites:
            concerned = [segment for segment in active if site in segment.edits]

            def transform(
                h: Tensor, site: Site = site, concerned: list = concerned
            ) -> Tensor:
                rows = h.clone() if layout is None else layout.collect(h)
                for segment in concerned:
                    segment.apply(site, rows)
                return rows if layout is None else layout.replace(h, rows)

            hook_site(anatomy, site, transform, stack)
        yield
    for segment in active:
        _check_worked(segment)


def _check_worked(segment: Segment) -> None:
    for site in segment.edits:
        if site not in segment.fired:
            raise SteeringFault(
                f"the edit at site {site} never ran: the model did not call the module "
                "found there; this is a defect of the model's code or of seatrial, not of "
                "your data"
            )
        if segment.edits[site].is_gated:
            continue
        idle = segment.mask.any(1).cpu() & (segment.doses != 0) & ~segment.changed[site]
        if bool(idle.any()):
            dose = float(segment.doses[idle][0])
            raise SteeringFault(
                f"the edit at site {site} with dose {dose:g} changed nothing at all; its "
                "vector is zero or too small for the model's dtype: fit it on other data "
                "or use a larger dose"
            )


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
    found: list[Tensor] = []

    def forward(h: Tensor) -> Tensor:
        found.append(h)
        return h[..., :1]

    earlier = unembedding.__dict__.get("forward")
    try:
        unembedding.forward = forward
        yield found
    finally:
        if earlier is None:
            unembedding.__dict__.pop("forward", None)
        else:
            unembedding.forward = earlier
