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
    cluster_share,
    partition,
    resample,
)
from seatrial.stats.continuations import SHARES, Behaviour, Cut, behaviour, on_one_scale
from seatrial.stats.controls import beats, control_band, holm, paired_sign_flip_p
from seatrial.stats.dose_response import (
    RANGES,
    Curvature,
    DoseFit,
    DoseResponse,
    curvature,
    describe,
    fit_quality,
    slopes,
)

__all__ = [
    "RANGES",
    "SHARES",
    "Behaviour",
    "Curvature",
    "Cut",
    "DoseFit",
    "DoseResponse",
    "Partition",
    "Statistic",
    "Values",
    "beats",
    "behaviour",
    "cluster_difference",
    "cluster_mean",
    "cluster_share",
    "control_band",
    "curvature",
    "describe",
    "fit_quality",
    "holm",
    "on_one_scale",
    "paired_sign_flip_p",
    "partition",
    "resample",
    "slopes",
]
