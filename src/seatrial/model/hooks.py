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
from seatrial.types import Site


@final
@dataclass
class Segment:
    """Consecutive rows of a batch under one steering, and the tokens that it edits."""

    start: int
    stop: int
    edits: Mapping[Site, Edit]
    dose: float
    mask: Bool[Tensor, "row token"]
    fired: set[Site] = field(default_factory=set)
    changed: set[Site] = field(default_factory=set)

    def apply(
        self, site: Site, h: Float[Tensor, "row token width"]
    ) -> Float[Tensor, "row token width"]:
        """The rows of this segment after the edit; other positions keep their bits."""
        self.fired.add(site)
        mask = self.mask.to(h.device)
        before = h[mask]
        after = self.edits[site](before, self.dose)
        if not torch.equal(before, after):
            self.changed.add(site)
        edited = h.clone()
        edited[mask] = after
        return edited


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
    """Pass a site's quantity through ``transform`` until the stack closes."""
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
        h = h.reshape(entering[0]) if entering else h
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
def steering(anatomy: Anatomy, segments: Sequence[Segment]) -> Iterator[None]:
    """Apply every segment's edits to its rows of the forward calls made inside.

    Raises:
        SteeringFault: on leaving, if an edit with something to edit did not run, or ran at
            a dose other than 0 and changed not a single bit (trap T1).
    """
    sites = sorted({site for segment in segments for site in segment.edits})
    with ExitStack() as stack:
        for site in sites:
            concerned = [segment for segment in segments if site in segment.edits]

            def transform(
                h: Tensor, site: Site = site, concerned: list = concerned
            ) -> Tensor:
                edited = h.clone()
                for segment in concerned:
                    rows = slice(segment.start, segment.stop)
                    edited[rows] = segment.apply(site, h[rows])
                return edited

            hook_site(anatomy, site, transform, stack)
        yield
    for segment in segments:
        if not bool(segment.mask.any()):
            continue
        for site in segment.edits:
            if site not in segment.fired:
                raise SteeringFault(
                    f"the edit at site {site} never ran: the model did not call the module "
                    "found "
                    "there; this is a defect of the model's code or of seatrial, not of "
                    "your data"
                )
            if segment.dose != 0 and site not in segment.changed:
                raise SteeringFault(
                    f"the edit at site {site} with dose {segment.dose:g} changed nothing "
                    "at all; "
                    "its vector is zero or too small for the model's dtype: fit it on "
                    "other data or use a larger dose"
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
def starting_at(
    anatomy: Anatomy, block: int, hidden: Float[Tensor, "row token d_model"] | None
) -> Iterator[None]:
    """Skip all blocks before ``block``: the last of them returns ``hidden`` instead.

    The model's own code around the blocks still runs, so masks, rotary tables and caches
    are made for the tokens at hand by the family itself.
    """
    if block == 0 or hidden is None:
        yield
        return

    length = anatomy.blocks[0].tuple_length

    def stored(*_: Any, **__: Any) -> Any:
        return (hidden, *[None] * (length - 1)) if length else hidden

    def through(h: Tensor, *_: Any, **__: Any) -> Any:
        return (h, *[None] * (length - 1)) if length else h

    modules = [anatomy.blocks[index].module for index in range(block)]
    # accelerate puts a forward of its own on the instance, which must come back afterwards.
    earlier = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules[:-1]:
            module.forward = through
        modules[-1].forward = stored
        yield
    finally:
        for module, forward in zip(modules, earlier, strict=True):
            if forward is None:
                del module.forward
            else:
                module.forward = forward
