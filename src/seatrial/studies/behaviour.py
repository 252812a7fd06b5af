"""A behaviour: what is to move; one concept of a study, split and turned into tasks."""

from typing import final

from seatrial.data import Concept, load_concept, load_prose, sample_balanced, split
from seatrial.data.records import ContrastiveItem
from seatrial.data.split import contents_of
from seatrial.data.texts import plain
from seatrial.errors import BadData
from seatrial.files import fingerprint
from seatrial.studies.named import guard_kind, target_kind
from seatrial.studies.study import Study
from seatrial.tasks import Contrastive, Task
from seatrial.tasks.spec import with_options
from seatrial.types import Split


@final
class Behaviour:
    """One concept of a study, split and turned into tasks.

    Raises:
        UnknownName: if the concept is neither built in nor a file.
        BadData: if its items cannot be split, or leave too few to measure.
        BadOption: for a limit that leaves nothing.
    """

    def __init__(self, study: Study, name: str) -> None:
        self.study = study
        self.concept: Concept = load_concept(name)
        if not (self.concept.encourage.strip() and self.concept.discourage.strip()):
            raise BadData(
                f"concept {self.concept.name!r} has no instruction for and against the "
                "behaviour, and a study compares steering with asking; add a line "
                '{"concept": {"encourage": ..., "discourage": ...}} to its .jsonl file, or '
                "the keys encourage and discourage to a .toml file that describes it"
            )
        _check_copies(self.concept)
        whole = split(self.concept.items, study.shares, seed=study.seed)
        limits = study.limits
        self.parts: dict[Split, tuple[ContrastiveItem, ...]] = {
            "fit": sample_balanced(whole["fit"], limits.fit, seed=study.seed),
            "select": sample_balanced(whole["select"], limits.select, seed=study.seed),
            "test": whole["test"],
        }
        self.targets: dict[str, Contrastive] = {
            target: self._target(target)
            for target in dict.fromkeys((*study.targets, study.fit_on))
        }
        """Target tasks by name, each with its own sample of the test split."""
        self.guards: dict[str, Task] = {guard: self._guard(guard) for guard in study.guards}
        """Guard tasks by name; what is asked of them is their test split."""

    @property
    def fingerprint(self) -> str:
        """Content hash of everything that can be asked or fitted on, 12 hex digits."""
        others = [
            [repr(request) for request in guard.requests("test")]
            for name, guard in self.guards.items()
            if name != "prose"
        ]
        return fingerprint([self.concept.fingerprint, load_prose(), *others])

    def _guard(self, name: str) -> Task:
        limit, kind = self.study.limits.of_guard(name), guard_kind(name)
        guard = kind.of(kind.sources[0], seed=self.study.seed, limit=limit)
        if len({request.group for request in guard.requests("test")}) < 2:
            raise BadData(
                f"{limit} items of {name!r} are of one group, too few for an interval; "
                f"raise limits.guards.{name}"
            )
        return guard

    def _target(self, name: str) -> Contrastive:
        limit = self.study.limits.test.get(name)
        test = sample_balanced(self.parts["test"], limit, seed=self.study.seed)
        for part, items in (("select", self.parts["select"]), ("test", test)):
            if len({item.group for item in items}) < 2:
                raise BadData(
                    f"{self.concept.name}: {len(items)} {part} items of one group are too "
                    f"few for an interval on {name!r}; raise limits.{part} or add groups"
                )
        task = target_kind(name)({**self.parts, "test": test})  # pyright: ignore[reportCallIssue]
        task = with_options(task, self.study.options.get(name, {}))
        assert isinstance(task, Contrastive)
        return task


def _check_copies(concept: Concept) -> None:
    """Refuse a text in two groups: it would count as two, or straddle two splits."""
    first: dict[str, ContrastiveItem] = {}
    for item in concept.items:
        for text in contents_of(item):
            before = first.setdefault(plain(text), item)
            if before.group != item.group:
                raise BadData(
                    f"{concept.name}: items {before.id} and {item.id} hold the same text "
                    f"{text!r}, but stand in two groups, {before.group} and {item.group}; "
                    "remove the copy, or give both one `group`"
                )
