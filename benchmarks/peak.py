"""Benchmark 8, second half: the share of the machine's matrix products that we reach.

The peak is the fastest product of the model's own shapes in float32, measured here. The
floating point operations are those of matrix products only, counted from the shapes that
the profiler saw; where the rest of the time goes is its time by kind of operator.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.prompts import letters
from benchmarks.rows import steadily, timed
from benchmarks.sweep import grid
from seatrial.model import Model
from seatrial.model.engine.onednn import linear
from seatrial.steering.intervention import UNSTEERED, Steering

PROMPTS = 16

KINDS = {
    "products with weights": ("_linear_pointwise", "mm", "addmm", "linear"),
    "attention": (
        "bmm",
        "baddbmm",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_softmax",
        "masked_fill_",
    ),
    "softmax over the vocabulary and reductions": (
        *("exp", "exp_", "log", "logsumexp", "logaddexp", "_log_softmax"),
        *("amax", "max", "sum", "maximum", "log_softmax", "all", "isfinite"),
    ),
    "norms, activations and sums": (
        *("mul", "mul_", "add", "add_", "sub", "sub_", "div", "div_", "neg", "pow"),
        *("mean", "rsqrt", "silu", "gelu", "tanh", "where", "cos", "sin", "abs", "ne"),
    ),
    "copies and gathers": (
        *("copy_", "cat", "index", "index_select", "index_put_", "_index_put_impl_"),
        *("clone", "fill_", "zero_", "gather", "embedding", "nonzero", "scatter"),
    ),
}
"""Operators by kind; what is not listed counts as the rest."""


def fastest_product(model: Model) -> float:
    """GFLOP/s of the best of the model's own products, at the engine's batch size."""
    modules = model.structure.blocks[0].module.modules()
    weights = [m.weight for m in modules if isinstance(m, torch.nn.Linear)]
    best = 0.0
    for weight in weights:
        x = torch.randn(model.engine.meter.tokens, weight.shape[1])
        linear(x, weight)
        seconds = min(timed(lambda x=x, w=weight: linear(x, w))[0] for _ in range(20))
        best = max(best, 2 * x.numel() * len(weight) / seconds / 1e9)
    return best


def operations(name: str, shapes: list) -> float:
    """Floating point operations of one call, if it is a matrix product."""
    if name in ("_linear_pointwise", "mm"):
        x, y = shapes[0], shapes[1]
        return 2.0 * prod(x) * (y[0] if name == "_linear_pointwise" else y[1])
    if name in ("addmm", "baddbmm"):
        return 2.0 * prod(shapes[1]) * shapes[2][-1]
    if name == "bmm":
        return 2.0 * prod(shapes[0]) * shapes[1][-1]
    if name == "_scaled_dot_product_flash_attention_for_cpu":
        return 4.0 * prod(shapes[0]) * shapes[1][-2]
    return 0.0


def profiled(work: Callable[[], object], wall: float) -> tuple[float, dict[str, float]]:
    """Floating point operations, and seconds by kind of operator.

    The profiler makes everything slower, so its seconds are scaled to the time without it.
    """
    kinds = {name: kind for kind, names in KINDS.items() for name in names}
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        slower, _ = timed(work)
    flops, seconds = 0.0, defaultdict(float)
    for event in seen.key_averages(group_by_input_shape=True):
        name = event.key.split("::")[-1]
        flops += operations(name, event.input_shapes) * event.count
        kind = kinds.get(name, "other operators")
        seconds[kind] += event.self_cpu_time_total / 1e6
    seconds["between operators"] = slower - sum(seconds.values())
    return flops, {kind: spent * wall / slower for kind, spent in seconds.items()}


def run(model: Model, *, tiny: bool = False) -> Iterator[dict]:
    """The unsteered pass, and what the replays of a sweep over all layers add to it."""
    requests = letters(2 if tiny else PROMPTS)
    layers = range(2 if tiny else model.n_layers)
    cells = grid(model, requests, "from_last_prompt", layers)
    best = fastest_product(model)
    sizes = f"{len(requests)} prompts; {len(layers)} layers x 7 doses"
    under = {"unsteered pass": [UNSTEERED], "replays": cells}
    before = 0.0, 0.0, {}
    for part, steerings in under.items():

        def work(steerings: Sequence[Steering] = steerings) -> object:
            return model.log_probs(requests, steerings)

        work()
        wall, _ = steadily(work)
        flops, kinds = profiled(work, wall)
        # The replays are what the sweep takes beyond the unsteered pass alone.
        seconds, count = wall - before[0], flops - before[1]
        spent = {kind: kinds[kind] - before[2].get(kind, 0.0) for kind in kinds}
        yield {
            "model": model.card.name,
            "part": part,
            "sizes": sizes,
            "seconds": seconds,
            "gflop": count / 1e9,
            "gflop_per_second": count / 1e9 / seconds,
            "peak_gflop_per_second": best,
            "share": count / 1e9 / seconds / best,
            "seconds_by_kind": spent,
        }
        before = wall, flops, kinds
