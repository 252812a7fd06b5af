"""A language model behind an OpenAI-compatible server, asked by a rubric."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from seatrial.tasks.judges.base import Judge, Judged, Judgement, Scale
from seatrial.tasks.judges.chat import JudgeQuestion, JudgeReply, ask_server
from seatrial.tasks.judges.rubrics import RUBRICS, Rubric, read_rating
from seatrial.tasks.judges.server import ChatServer
from seatrial.types import as_text


@final
@dataclass(frozen=True)
class Endpoint(Judge):
    """Asks a server to rate each text, aspect by aspect (LLM as a judge).

    A text has a score only if every aspect has a rating that can be read. Its reply holds
    all that the judge said, aspect by aspect.
    """

    name: ClassVar[str] = "endpoint"
    summary: ClassVar[str] = "a language model behind an OpenAI-compatible server"

    server: ChatServer
    rubric: Rubric = field(default_factory=lambda: RUBRICS["caa"])

    @property
    def scale(self) -> Scale:
        return self.rubric.scale

    @property
    def identity(self) -> str:
        rubric = f"{self.rubric.name} {self.rubric.version}"
        return f"endpoint {self.server.identity} {rubric}"

    @property
    def kept(self) -> str:
        return str(self.server.cache)

    def judge(self, texts: Sequence[Judged]) -> Sequence[Judgement]:
        questions = [
            JudgeQuestion(
                aspect.ask(item),
                f"{self.rubric.name} {self.rubric.version} {aspect.name}",
                as_text(item.prompt),
                item.completion,
            )
            for item in texts
            for aspect in self.rubric.aspects
        ]
        replies = ask_server(self.server, questions)
        each = len(self.rubric.aspects)
        return [
            self._judgement(replies[start : start + each])
            for start in range(0, len(replies), each)
        ]

    def _judgement(self, replies: Sequence[JudgeReply]) -> Judgement:
        ratings = {
            aspect.name: read_rating(reply.text or "", aspect.scale)
            for aspect, reply in zip(self.rubric.aspects, replies, strict=True)
        }
        raw = "\n\n".join(reply.raw for reply in replies)
        read = {name: rating for name, rating in ratings.items() if rating is not None}
        if len(read) < len(ratings):
            return Judgement(None, raw, read)
        return Judgement(self.rubric.combine(read), raw, read)
