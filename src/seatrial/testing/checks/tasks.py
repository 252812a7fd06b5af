"""The promises that every task keeps, as functions for anybody's task.

::

    for check in TASK_CHECKS.values():
        check(MyTask, "my-source")

Each raises ``AssertionError`` with a sentence on what was broken. No model is asked.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from itertools import combinations

from seatrial.tasks import Scored, Task, Written
from seatrial.types import SPLITS, Answer, Completion, Request, Score, Split

TaskCheck = Callable[[type[Task], str], None]


def same_seed_same_requests(kind: type[Task], source: str) -> None:
    """Made twice with one seed, a task asks the same in every split."""
    one, other = (kind.of(source, seed=3) for _ in range(2))
    for split in _splits(one):
        assert list(one.requests(split)) == list(other.requests(split)), (
            f"{kind.name} asks other things of {split} when it is made again with one seed"
        )


def ids_are_unique(kind: type[Task], source: str) -> None:
    """Every request of a split has an id of its own."""
    task = kind.of(source, seed=0)
    for split in _splits(task):
        ids = [request.id for request in task.requests(split)]
        assert len(set(ids)) == len(ids), (
            f"{kind.name} has two requests of one id in {split}"
        )


def splits_share_no_group(kind: type[Task], source: str) -> None:
    """Splits that ask different things share none of their groups."""
    task = kind.of(source, seed=0)
    requests = {split: list(task.requests(split)) for split in _splits(task)}
    for one, other in combinations(requests, 2):
        if requests[one] == requests[other]:
            continue  # a guard that nothing is fitted on or chosen by may have one split
        groups = {request.group for request in requests[one]}
        shared = groups & {request.group for request in requests[other]}
        assert not shared, f"{kind.name} has {sorted(shared)[:3]} in {one} and in {other}"


def a_limit_is_kept(kind: type[Task], source: str) -> None:
    """A limit leaves some test items, and no more than without one."""
    whole = len(_scores(kind.of(source, seed=0)))
    few = len(_scores(kind.of(source, seed=0, limit=max(2, whole // 2))))
    assert 0 < few <= max(2, whole // 2), (
        f"{kind.name} has {few} items under a limit of {max(2, whole // 2)}"
    )


def scores_are_of_the_items_asked(kind: type[Task], source: str) -> None:
    """Scores are in the order of the requests, one an item, each with its group."""
    task = kind.of(source, seed=0)
    groups: dict[str, str] = {}
    for request in task.requests("test"):
        groups.setdefault(request.id, request.group)
    scores = _scores(task)
    items = [score.item for score in scores]
    assert len(set(items)) == len(items), f"{kind.name} scores an item twice"
    # An item that is asked twice, as ID/first and ID/second, has one score, ID.
    order = list(dict.fromkeys(_item(id, set(items)) for id in groups))
    assert items == order, (
        f"{kind.name} scores other items than it asks, or in another order"
    )
    for id, group in groups.items():
        score = scores[items.index(_item(id, set(items)))]
        assert score.group == group, f"{kind.name}: {id} has another group in its score"
    metric = task.about.metric
    assert any(metric in score.metrics for score in scores), (
        f"no score of {kind.name} has the metric that it is about, {metric}"
    )


def metrics_stay_within_their_bounds(kind: type[Task], source: str) -> None:
    """No metric leaves the bounds that the task names."""
    task = kind.of(source, seed=0)
    for score in _scores(task):
        for name, (low, high) in task.about.bounds.items():
            value = score.metrics.get(name, low)
            assert low - 1e-9 <= value <= high + 1e-9, (
                f"{kind.name}: {name} of {score.item} is {value}, outside {low} to {high}"
            )


def it_is_a_value(kind: type[Task], source: str) -> None:
    """A task is a frozen dataclass, equal to another one that is made alike."""
    one, other = (kind.of(source, seed=0, limit=8) for _ in range(2))
    is_frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # pyright: ignore
    assert is_frozen, f"{kind.name} is no frozen dataclass"
    assert one == other, f"{kind.name} is another task when it is made again with one seed"


TASK_CHECKS: dict[str, TaskCheck] = {
    "same seed, same requests": same_seed_same_requests,
    "ids are unique": ids_are_unique,
    "splits share no group": splits_share_no_group,
    "a limit is kept": a_limit_is_kept,
    "scores are of the items asked": scores_are_of_the_items_asked,
    "metrics stay within their bounds": metrics_stay_within_their_bounds,
    "it is a value": it_is_a_value,
}
"""Promise -> check; the function's docstring is the promise in full."""


def _splits(task: Task) -> list[Split]:
    """Those in which the task asks something."""
    return [split for split in SPLITS if task.requests(split)]


def _item(id: str, items: set[str]) -> str:
    return id if id in items else id.rpartition("/")[0]


def _scores(task: Task) -> list[Score]:
    """Scores of an answerer that finds everything about as likely, on the test split."""
    requests = task.requests("test")
    if isinstance(task, Written):
        text = Completion("A plain text of some words.", (1, 2, 3), (-1.0,) * 3, "end")
        return list(task.score(requests, [text] * len(requests)))
    assert isinstance(task, Scored)
    return list(task.score(requests, [_answer(k, r) for k, r in enumerate(requests)]))


def _answer(k: int, request: Request) -> Answer:
    lines = tuple(
        tuple(-3.0 - (k + n + m) % 5 / 8 for m in range(max(1, len(text.split()))))
        for n, text in enumerate(request.answers)
    )
    kl = tuple(tuple(0.01 for _ in line) for line in lines)
    top = tuple(tuple((k + n) % 2 == 0 for _ in line) for n, line in enumerate(lines))
    return Answer(lines, kl, top)
