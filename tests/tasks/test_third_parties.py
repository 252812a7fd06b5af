"""A task from outside works wherever ours do, and keeps the same promises."""

import sys

import pytest

from seatrial.cli import main
from seatrial.errors import BadOption, UnknownName
from seatrial.tasks import Scored, task_named
from seatrial.tasks.measure import measure
from seatrial.tasks.spec import make_fit_data, make_task
from seatrial.testing import TASK_CHECKS, tiny_model

FILE = '''
from dataclasses import dataclass
from typing import ClassVar

from seatrial.data import sample, split
from seatrial.data.records import Question
from seatrial.tasks import Open, Scored
from seatrial.types import Metric, Request, Score


@dataclass(frozen=True)
class Sums(Scored):
    """Whether 1 + 1 is 2."""

    name: ClassVar[str] = "sums"
    summary: ClassVar[str] = "guard: sums of two small numbers"
    about: ClassVar[Metric] = Metric("margin", "nats", "guard", sign=-1)
    sources: ClassVar[tuple[str, ...]] = ("small",)

    splits: dict
    plus: str = "+"
    """The sign between the numbers."""

    @classmethod
    def of(cls, source, *, seed, limit=None):
        sums = [Question(f"{a}", f"{a}", (f"1 + {a}",)) for a in range(40)]
        parts = split(sums, seed=seed)
        return cls({**parts, "test": sample(parts["test"], limit, seed=seed)})

    def requests(self, split):
        return [
            Request(s.id, s.group, f"1 {self.plus} {s.id} =", (f" {int(s.id) + 1}", " -1"))
            for s in self.splits[split]
        ]

    def score(self, requests, answers):
        return [
            Score(r.id, r.group, {"margin": a.means[0] - a.means[1]})
            for r, a in zip(requests, answers, strict=True)
        ]


class Sum:
    """No task."""


class Shout(Open):
    """Open, in a class of its own; Open itself is final to the type checker alone."""
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module beside the user, and its name."""
    (tmp_path / "outside_tasks.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    yield "outside_tasks"
    sys.modules.pop("outside_tasks", None)


@pytest.fixture
def installed(mine, tmp_path, monkeypatch):
    """A package with an entry point, as pip would leave it."""
    folder = tmp_path / "outside-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    lines = "[seatrial.tasks]\nsums = outside_tasks:Sums\n"
    (folder / "entry_points.txt").write_text(lines)
    monkeypatch.syspath_prepend(str(tmp_path))
    return mine


def test_a_dotted_name_is_a_task_like_ours(mine):
    task = make_task(f"{mine}:Sums", limit=4, options={"plus": "and"})

    [scores] = measure(tiny_model("llama"), task)

    assert len(scores) == 4
    assert task.requests("test")[0].prompt.startswith("1 and ")


def test_an_entry_point_gives_it_a_name(installed):
    assert task_named("sums").__name__ == "Sums"
    assert isinstance(make_task("sums", limit=4), Scored)


def test_pairs_of_a_task_from_outside_can_be_fitted_on(mine):
    ours = make_fit_data("open", "formality", limit=6)

    assert make_fit_data(f"{mine}:Shout", "formality", limit=6) == ours
    with pytest.raises(BadOption, match="'outside_tasks:Sums' is no task: it must be a"):
        make_fit_data(f"{mine}:Sums", "small")


def test_it_is_listed_with_its_options(mine, capsys):
    assert main(["list", "tasks", f"{mine}:Sums"]) == 0
    assert main(["list", "options", f"{mine}:Sums"]) == 0
    assert main(["list", "maps", f"{mine}:Sums"]) == 2

    out, err = capsys.readouterr()
    assert "guard" in out and "sums of two small numbers" in out
    assert "plus=+" in out and "The sign between the numbers" in out
    assert "names are of methods, tasks and options, not of maps" in err


def test_what_is_no_task_is_refused_in_one_sentence(mine):
    with pytest.raises(BadOption, match="'outside_tasks:Sum' is no task: it must be"):
        task_named(f"{mine}:Sum")
    with pytest.raises(BadOption, match="the task 'nowhere:X' cannot be imported"):
        task_named("nowhere:X")
    with pytest.raises(UnknownName, match=r"unknown task 'prosa'; known: .* mean 'prose'"):
        task_named("prosa")


OURS = ("propensity", "open", "map", "values", "prose", "dialogue", "facts", "fluency")


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("promise", TASK_CHECKS)
def test_ours_keep_the_promises_of_tasks(promise, name):
    kind = task_named(name)

    TASK_CHECKS[promise](kind, kind.sources[0])


@pytest.mark.parametrize("promise", TASK_CHECKS)
@pytest.mark.usefixtures("installed")
def test_a_task_from_outside_keeps_them(promise):
    TASK_CHECKS[promise](task_named("sums"), "small")


def test_each_promise_bites(mine):
    """Deliberately broken tasks."""
    good = task_named(f"{mine}:Sums")

    class Twice(good):
        def requests(self, split):
            return [*super().requests(split)[:1], *super().requests(split)]

    class Backwards(good):
        def score(self, requests, answers):
            return super().score(requests, answers)[::-1]

    class Unbounded(good):
        about = type(good.about)("margin", "nats", "guard", bounds={"margin": (0.0, 0.001)})

    class Greedy(good):
        @classmethod
        def of(cls, source, *, seed, limit=None):
            return super().of(source, seed=seed)

    class Leaky(good):
        def requests(self, split):
            return [*super().requests(split), *super().requests("test")[:1]]

    draws = iter(range(100))

    class Moody(good):
        def requests(self, split):
            return super().requests(split)[next(draws) % 2 :]

    for broken, promise, words in (
        (Twice, "ids are unique", "two requests of one id"),
        (Backwards, "scores are of the items asked", "in another order"),
        (Unbounded, "metrics stay within their bounds", "outside 0.0 to 0.001"),
        (Greedy, "a limit is kept", "under a limit of"),
        (Leaky, "splits share no group", "in fit and in"),
        (Moody, "same seed, same requests", "when it is made again"),
    ):
        with pytest.raises(AssertionError, match=words):
            TASK_CHECKS[promise](broken, "small")
