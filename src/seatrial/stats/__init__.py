"""Numbers with honest intervals: what the items, grouped as they are, allow one to say.

Items of one group (a template, a source text, a topic) resemble each other, so only groups
count as independent. Everything here takes plain arrays and returns
:class:`seatrial.types.Estimate`; nothing here knows about models, and nothing imports
torch.
"""

from seatrial.stats.bootstrap import (
    Partition,
    Statistic,
    Values,
    cluster_difference,
    cluster_mean,
    partition,
    resample,
)
from seatrial.stats.continuations import (
    SHARES,
    Promotion,
    PromotionCut,
    on_one_scale,
    promotion,
)
from seatrial.stats.controls import beats, control_band, holm, paired_sign_flip_p
from seatrial.stats.dose_response import (
    RANGES,
    Curvature,
    DoseResponse,
    curvature,
    describe,
)
from seatrial.stats.least_squares import slopes
from seatrial.stats.shares import cluster_share
from seatrial.stats.spurious import Factor, explained, order_share, varies

__all__ = [
    "RANGES",
    "SHARES",
    "Curvature",
    "DoseResponse",
    "Factor",
    "Partition",
    "Promotion",
    "PromotionCut",
    "Statistic",
    "Values",
    "beats",
    "cluster_difference",
    "cluster_mean",
    "cluster_share",
    "control_band",
    "curvature",
    "describe",
    "explained",
    "holm",
    "on_one_scale",
    "order_share",
    "paired_sign_flip_p",
    "partition",
    "promotion",
    "resample",
    "slopes",
    "varies",
]
