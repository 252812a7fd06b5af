"""The promises that every method keeps, as functions for anybody's method.

::

    for name, check in CHECKS.items():
        check(method, model, data)

Each raises ``AssertionError`` with a sentence on what was broken. They fit the method some
twenty times and copy the model's weights, so give them a small model, in float32 because
answers are compared to 1e-4 nats, and a handful of short pairs (``tiny_model`` and your own
texts will do).
"""

from collections.abc import Callable

from seatrial.methods import Method
from seatrial.model import Model
from seatrial.testing.checks.answering import (
    NEW_TOKENS,
    batching_and_padding_change_nothing,
    cached_generation_equals_recomputation,
    dose_one_changes_something,
    dose_zero_is_the_unsteered_model,
    steering_one_model_leaves_another_alone,
)
from seatrial.testing.checks.asking import NOISE
from seatrial.testing.checks.fitting import (
    fit_leaves_the_model_alone,
    half_precision_works,
    only_the_given_pairs_are_read,
    same_seed_same_result,
    saving_and_loading_is_exact,
    swapped_pairs_flip_the_sign,
)
from seatrial.types import FitData

Check = Callable[[Method, Model, FitData], None]

CHECKS: dict[str, Check] = {
    "fit leaves the model alone": fit_leaves_the_model_alone,
    "same seed, same result": same_seed_same_result,
    "dose 0 is the unsteered model": dose_zero_is_the_unsteered_model,
    "dose 1 changes something": dose_one_changes_something,
    "steering one model leaves another alone": steering_one_model_leaves_another_alone,
    "batching and padding change nothing": batching_and_padding_change_nothing,
    "saving and loading is exact": saving_and_loading_is_exact,
    "half precision works": half_precision_works,
    "only the given pairs are read": only_the_given_pairs_are_read,
    "swapped pairs flip the sign": swapped_pairs_flip_the_sign,
    "cached generation equals recomputation": cached_generation_equals_recomputation,
}
"""Promise -> check; the function's docstring is the promise in full."""

__all__ = [
    "CHECKS",
    "NEW_TOKENS",
    "NOISE",
    "Check",
    "batching_and_padding_change_nothing",
    "cached_generation_equals_recomputation",
    "dose_one_changes_something",
    "dose_zero_is_the_unsteered_model",
    "fit_leaves_the_model_alone",
    "half_precision_works",
    "only_the_given_pairs_are_read",
    "same_seed_same_result",
    "saving_and_loading_is_exact",
    "steering_one_model_leaves_another_alone",
    "swapped_pairs_flip_the_sign",
]
