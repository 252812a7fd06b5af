"""What a method reads of other concepts and maps, beside the data that it is fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from seatrial.data import (
    CONCEPTS,
    DEFAULT_SHARES,
    MAPS,
    load_concept,
    sample,
    sample_balanced,
    split,
)
from seatrial.errors import BadData, UnknownName, unknown
from seatrial.files import fingerprint
from seatrial.tasks import TARGETS, fit_data
from seatrial.tasks.map import Map
from seatrial.types import DataOf, FitData, Split, texts_of

_APART = 6
"""How far down the list of maps the next one stands: neighbours are akin (translations)."""


def with_others(
    data: FitData,
    references: Mapping[str, DataOf],
    *,
    seed: int,
    split_seed: int | None = None,
    shares: Mapping[Split, float] = DEFAULT_SHARES,
    behaviours: Sequence[str] = (),
) -> FitData:
    """The data, and beside it what a method's ``references`` name, always of the fit split.

    The fingerprint covers all of it.

    Args:
        data: what the method is fitted on.
        references: what it asks for besides, by key: ``method.references(data)``.
        seed: of the samples that are drawn.
        split_seed: of the splits; unless given, the same.
        shares: of the splits.
        behaviours: names of a study's behaviours. Where a reference names nothing, they
            are tried in turn before those that ship.

    Raises:
        UnknownName: for a concept, map or task that does not exist.
        BadData: if a reference shares a text that it must not share, or cannot be read.
    """
    if not references:
        return data
    read = _Reader(data, seed, seed if split_seed is None else split_seed, shares)
    others = {
        key: read.named(reference) if reference.source else read.next(reference, behaviours)
        for key, reference in references.items()
    }
    content = [data.fingerprint, *(f"{k} {v.fingerprint}" for k, v in others.items())]
    return replace(data, others=others, fingerprint=fingerprint(content))


class _Reader:
    """Reads other data for one method and its own data."""

    def __init__(
        self, data: FitData, seed: int, split_seed: int, shares: Mapping[Split, float]
    ) -> None:
        self.data = data
        self.seed = seed
        self.split_seed = split_seed
        self.shares = shares

    def named(self, reference: DataOf) -> FitData:
        """The data of the concept or map that a reference names."""
        if reference.task == Map.name:
            return self._map(reference)
        _check_task(reference.task)
        concept = load_concept(reference.source)
        items = split(concept.items, self.shares, seed=self.split_seed)["fit"]
        items = sample_balanced(items, reference.limit, seed=self.seed)
        other = fit_data(concept, TARGETS[reference.task]({"fit": items}))  # pyright: ignore[reportCallIssue]
        # The same concept shares everything; its method says so in a sentence of its own.
        if reference.is_apart and other.concept != self.data.concept:
            self._check_apart(other)
        return other

    def next(self, reference: DataOf, behaviours: Sequence[str]) -> FitData:
        """The data of the next concept or map that shares no text with the method's own."""
        _check_task(reference.task)
        ours, steps = (MAPS, _APART) if reference.task == Map.name else (CONCEPTS, 1)
        own = self.data.concept
        named = [*_after(own, behaviours, 1), *_after(own, ours, steps)]
        for source in named:
            try:
                other = self.named(replace(reference, source=source, is_apart=True))
            except (BadData, UnknownName):  # a study's behaviours may be of another kind
                continue
            if other.concept != own:
                return other
        raise BadData(
            f"no other concept or map can stand beside {own!r}: {', '.join(named)} share "
            "texts with it; name another one"
        )

    def _map(self, reference: DataOf) -> FitData:
        task = Map.of(reference.source, seed=self.split_seed)
        pairs = pool = task.splits["fit"]
        if reference.is_apart and task.data.name != self.data.concept:
            # Translations into two languages have a word or two alike, copies all of them.
            known = set(self.data.examples)
            pool = [pair for pair in pairs if (pair.input, pair.output) not in known]
            if len(pool) < len(pairs) / 2:
                raise BadData(
                    f"{len(pairs) - len(pool)} of {len(pairs)} examples of "
                    f"{task.data.name!r} are examples of {self.data.concept!r} too, so one "
                    "says nothing about the other; choose another map"
                )
        chosen = sample(pool, reference.limit, seed=self.seed)
        return Map(task.data, {"fit": chosen}, self.seed).fit_data(shots=reference.shots)

    def _check_apart(self, other: FitData) -> None:
        own, others = (
            {*texts_of(data.pairs, "positive"), *texts_of(data.pairs, "negative")}
            for data in (self.data, other)
        )
        if shared := own & others:
            raise BadData(
                f"{other.concept!r} and {self.data.concept!r} share the text "
                f"{min(map(tuple, shared), key=repr)!r}, so one says nothing about the "
                "other; choose another concept"
            )


def _check_task(name: str) -> None:
    if name not in (*TARGETS, Map.name):
        raise unknown("target task", name, [*TARGETS, Map.name])


def _after(name: str, names: Sequence[str], steps: int) -> list[str]:
    """All other names, from the one so many steps after this one, round and round."""
    first = names.index(name) + steps if name in names else 0
    return [
        names[(first + k) % len(names)]
        for k in range(len(names))
        if names[(first + k) % len(names)] != name
    ]
