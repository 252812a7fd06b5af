"""Judges on the command line: which one is asked, what was unreadable, who agrees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, final

import tyro

from seatrial.errors import BadOption

if TYPE_CHECKING:
    from seatrial.data.records import ContrastiveItem
    from seatrial.model import Model
    from seatrial.tasks import Task
    from seatrial.tasks.judges import Judge
    from seatrial.types import Score, Split

LABELLED = 20
"""Items, of two texts each, on which a judge is compared with their labels by default."""

LEAST = 5
"""Of fewer items no interval of an agreement is worth printing."""


@final
@dataclass(frozen=True)
class Server:
    """What is asked of a judge, and where the judge ``endpoint`` is."""

    agreement: int = LABELLED
    """How many of the concept's items, of two labelled texts each, a judge is asked about
    besides, to see whether it agrees with their labels; 0: none, which saves requests."""
    judge_url: str = ""
    """Of a server that speaks the OpenAI protocol, without /chat/completions, such as
    http://127.0.0.1:8080/v1; for --set judge=endpoint."""
    judge_model: str = ""
    """The name of its model."""
    judge_key: str = ""
    """The environment variable that holds its key, never the key; empty: none is sent."""
    rubric: str = "caa"
    """What it is asked: caa, how strongly a text shows the concept, 0 to 10; or axbench,
    concept, instruction and fluency, 0 to 2 each."""


Judging = Annotated[Server, tyro.conf.arg(name="")]
"""What a command that asks judges takes."""

NO_SERVER = Server()


def chosen_judge(
    said: object, server: Server, source: str, seed: int, load: "Callable[[], Model]"
) -> "Judge | None":
    """The judge that ``--set judge=...`` names; None where it names none.

    Args:
        said: the value, or None.
        server: for ``endpoint``.
        source: of the task ``generation``, for ``classifier``.
        seed: of its split.
        load: gives the model that is measured, which ``likelihood`` asks unsteered.

    Raises:
        UnknownName: for a judge or a rubric that is not there.
        BadOption: for options of a server without ``endpoint``, or without what it needs.
        SeatrialError: whatever reading the source or loading the model raises.
    """
    from seatrial.tasks.generation import learnt_judge
    from seatrial.tasks.judges import ChatServer, Endpoint, Likelihood
    from seatrial.tasks.judges.named import plain_judge
    from seatrial.tasks.judges.rubrics import rubric_named

    if server.agreement and server.agreement < LEAST:
        raise BadOption(
            f"--agreement must be 0 or at least {LEAST} items, not {server.agreement}; "
            "fewer say nothing"
        )
    if said != "endpoint" and replace(server, agreement=LABELLED) != NO_SERVER:
        raise BadOption(
            "--judge-url, --judge-model, --judge-key and --rubric are of a judge behind a "
            "server; add --set judge=endpoint"
        )
    if said is None:
        return None
    if said == "endpoint":
        rubric = rubric_named(server.rubric)
        if not (server.judge_url and server.judge_model):
            raise BadOption(
                "--set judge=endpoint needs a server and a model: add --judge-url, such as "
                "http://127.0.0.1:8080/v1, and --judge-model"
            )
        key = server.judge_key
        return Endpoint(ChatServer(server.judge_url, server.judge_model, key), rubric)
    if said == "likelihood":
        return Likelihood(load())
    if said == "classifier":
        return learnt_judge(source, _items(source, seed)["select"])
    return plain_judge(str(said))


def judged_task(source: str, seed: int, limit: int | None, judge: "Judge | None") -> "Task":
    """The task ``generation`` with a judge, or with its own."""
    from seatrial.tasks import Generation

    return Generation.of(source, seed=seed, limit=limit, judge=judge)


def told_by_judge(
    task: "Task",
    source: str,
    seed: int,
    lines: "Mapping[str, Sequence[Score]]",
    labelled: int = LABELLED,
) -> list[str]:
    """What must be known of the judge beside its scores, a sentence a line.

    Args:
        task: that was asked; without a judge there is nothing to say.
        source: of the task; the texts of its concept are asked about, too.
        seed: of its split.
        lines: the scores, by the name of what was asked.
        labelled: how many items agreement is measured on; 0: it is not.

    Raises:
        SeatrialError: whatever the judge raises.
    """
    from seatrial.tasks import Generation

    if not isinstance(task, Generation):
        return []
    judge = task.judge
    head = f"Judge: {judge.identity}; its scale is {judge.scale.low:g} to "
    return [
        f"{head}{judge.scale.high:g}",
        *_lost(judge, lines),
        _agreed(judge, task.concept, source, seed, labelled),
    ]


def _lost(judge: "Judge", lines: "Mapping[str, Sequence[Score]]") -> list[str]:
    """How many replies hold no score, and what they could make of the mean."""
    from seatrial.tasks.judges import tally

    found = {name: tally(line, judge.scale) for name, line in lines.items()}
    total, lost = (sum(getattr(t, x) for t in found.values()) for x in ("n", "unreadable"))
    return [
        f"Replies that could not be read: {lost} of {total}",
        *(
            f"{name}: {each.unreadable} of {each.n}, a share of {each.share}; whatever "
            f"they meant, the mean score lies from {each.lowest:.3g} to {each.highest:.3g}"
            for name, each in found.items()
            if each.unreadable
        ),
    ]


def _agreed(judge: "Judge", about: str, source: str, seed: int, labelled: int) -> str:
    """Agreement with labels, on texts that neither trained a judge nor are tested on."""
    from seatrial.data import sample
    from seatrial.tasks.generation import told
    from seatrial.tasks.judges import agreement, labelled_items

    head = "Agreement with labels was not measured"
    if not labelled:
        return f"{head} (--agreement 0)"
    texts = told(_items(source, seed)["fit"])
    if not texts:
        return f"{head}: {source} holds no texts that do and do not show the concept"
    items = sample(texts, labelled, seed=seed)
    found = agreement(judge, labelled_items(items, about, judge.scale))
    lost = f", {found.unreadable} more could not be read" if found.unreadable else ""
    return (
        f"Agreement with the labels of {found.n} texts of the concept{lost}: kappa "
        f"{found.kappa}, same class {found.same}, rank correlation {found.rank}"
    )


def _items(source: str, seed: int) -> "Mapping[Split, Sequence[ContrastiveItem]]":
    from seatrial.data import split
    from seatrial.tasks.generation import concept_of

    return split(concept_of(source).items, seed=seed)
