"""Flags of the commands that ask judges."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, final

import tyro

if TYPE_CHECKING:
    from seatrial.tasks.spec import JudgeSpec


@final
@dataclass(frozen=True)
class Server:
    """What is asked of a judge, and where the judge ``endpoint`` is."""

    agreement: int | None = None
    """How many of the concept's items, of two labelled texts each, a judge is asked about
    besides, to see whether it agrees with their labels; 0: none, which saves requests; by
    default 20."""
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

    def spec(self, name: str | None) -> "JudgeSpec":
        """These flags, for the judge that ``--set judge=...`` names."""
        from seatrial.tasks.spec import JudgeSpec

        return JudgeSpec(
            name, self.judge_url, self.judge_model, self.judge_key, self.rubric
        )


Judging = Annotated[Server, tyro.conf.arg(name="")]
"""What a command that asks judges takes."""

NO_SERVER = Server()
