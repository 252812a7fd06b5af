"""Turns prompts and answers into token ids, and says which tokens are which.

Three rules make scores mean what a user thinks they mean:

- The text is tokenised as a whole, prompt and answer together, because that is the text the
  model would see. Where the answer merges with the prompt's end ("Answer: " + "Yes" becomes
  " Yes"), the boundary moves back to the last token that both share, for all answers of a
  request alike, so that their scores are conditioned on the same tokens and stay comparable
  (traps T34, T37).
- A chat template is authoritative: its text is tokenised without adding special tokens
  again, and plain text gets the tokenizer's own prefix exactly once (trap T23).
- Positions are counted over real tokens; padding never has a position (trap T28).

Numbered traps are those of docs/hazards.md.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, final

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from seatrial.errors import BadData, BadOption, sentence
from seatrial.files import fingerprint
from seatrial.steering.intervention import Intervention, scope_span
from seatrial.types import EditedToken, Message, Prompt, Request, Text, as_questions

TokenSelector = Literal["last", "second_last", "last_prompt", "completion", "mean"]
"""Where an activation is read: the last token of the text, the one before it (the letter of
"(A)"), the last token of the prompt, the mean over the completion, or the mean over all
tokens but the beginning-of-sequence token."""

SELECTORS: tuple[TokenSelector, ...] = (
    "last",
    "second_last",
    "last_prompt",
    "completion",
    "mean",
)


class Rendered(NamedTuple):
    """A prompt as plain text."""

    text: str
    joiner: str
    """What stands between the prompt and an answer."""
    has_specials: bool
    """Whether the text already contains the special tokens that open a sequence."""


class SpecialTokens(NamedTuple):
    """Ids of the tokens that stand for no text; ``None`` where there is no such token."""

    bos: int | None
    eos: int | None
    pad: int | None
    unknown: int | None


@final
@dataclass(frozen=True)
class Encoded:
    """A prompt and one answer as token ids."""

    ids: tuple[int, ...]
    n_prompt: int
    """The first ``n_prompt`` ids are the prompt's; the rest are scored."""

    @property
    def scored(self) -> tuple[int, ...]:
        """Ids of the answer."""
        return self.ids[self.n_prompt :]


@final
class Encoder:
    """A tokenizer with this house's rules."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        bare = tokenizer("a", add_special_tokens=False).input_ids
        full = tokenizer("a", add_special_tokens=True).input_ids
        start = next((k for k in range(len(full)) if full[k : k + len(bare)] == bare), 0)
        self.prefix: tuple[int, ...] = tuple(full[:start])
        """What the tokenizer puts before every text: BOS, or nothing. A suffix is not kept:
        an end-of-text token in front of the position to be scored would change the
        question."""

    @property
    def is_chat(self) -> bool:
        """Whether the model has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    @property
    def special(self) -> SpecialTokens:
        """Beginning and end of a sequence, padding, and what stands for unknown words."""
        names = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")
        return SpecialTokens(*(getattr(self.tokenizer, name) for name in names))

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of all that decides how texts are read: tokenizer, template, BOS."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            rules: Any = [type(self.tokenizer).__name__, self.tokenizer.get_vocab()]
        else:
            rules = json.loads(backend.to_str())
            for key in ("padding", "truncation"):  # set by whoever called it last
                rules.pop(key, None)
        template = getattr(self.tokenizer, "chat_template", None)
        return fingerprint([rules, template, self.prefix, self.special])

    def render(self, prompt: Prompt) -> Rendered:
        """The prompt as text: conversations by the chat template, else as questions."""
        if isinstance(prompt, str):
            return Rendered(prompt, "", False)
        if not prompt:
            raise BadData("a conversation needs at least one message; give a user message")
        if not self.is_chat:
            return Rendered(_for_base_model(prompt), " ", False)
        ends_open = prompt[-1].role == "assistant"
        try:
            text = self._template(prompt, ends_open)
        except (TemplateError, ValueError):
            # Some templates (Gemma, early Mistral) refuse a system message; their authors
            # put it in front of the first user turn.
            try:
                text = self._template(_fold_system(prompt), ends_open)
            except (TemplateError, ValueError) as error:
                raise BadData(
                    "the model's chat template refuses this conversation "
                    f"({sentence(error)}); "
                    "give an optional system message, then user and assistant in turn"
                ) from error
        return Rendered(text, "", True)

    def _template(self, prompt: tuple[Message, ...], ends_open: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                [message._asdict() for message in prompt],
                tokenize=False,
                add_generation_prompt=not ends_open,
                continue_final_message=ends_open,
            )
        )

    def _ids(self, rendered: Rendered, answer: str = "") -> tuple[int, ...]:
        text = rendered.text + (rendered.joiner + answer if answer else "")
        ids = (
            tuple(self.tokenizer(text, add_special_tokens=False).input_ids) if text else ()
        )
        if rendered.has_specials or (
            self.prefix and ids[: len(self.prefix)] == self.prefix
        ):
            return ids
        return self.prefix + ids

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt on its own, for generation.

        Raises:
            BadData: if it has none.
        """
        ids = self._ids(self.render(prompt))
        if not ids:
            raise BadData(
                "the prompt has no tokens and the tokenizer adds none; give prompt text"
            )
        return ids

    def bare_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of plain text, without anything that the tokenizer adds."""
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def encode(self, prompt: Prompt, answers: tuple[str, ...]) -> tuple[Encoded, ...]:
        """Token ids of a prompt with each of its answers, cut at one common boundary.

        Raises:
            BadData: if there is no answer, an answer has no tokens, or nothing precedes it.
        """
        if not answers:
            raise BadData("a request needs at least one answer to score")
        rendered = self.render(prompt)
        alone = self._ids(rendered)
        whole = [self._ids(rendered, answer) for answer in answers]
        boundary = min(_common(alone, ids) for ids in whole)
        for answer, ids in zip(answers, whole, strict=True):
            if not answer.strip() or len(ids) <= boundary:
                raise BadData(
                    f"the answer {answer!r} has no tokens of its own after the prompt "
                    f"{_tail(rendered.text)!r}; give an answer with text in it"
                )
        if boundary == 0:
            raise BadData(
                f"nothing precedes the answer {answers[0]!r}: the prompt has no token of "
                "its own "
                "and the tokenizer adds no beginning-of-sequence token; give prompt text"
            )
        return tuple(Encoded(ids, boundary) for ids in whole)

    def encode_text(self, text: Text) -> Encoded:
        """Token ids of a text, of which the prompt or the completion may be empty."""
        if not text.prompt and text.completion:
            # Only a score needs something before it; a text alone can be read as it is.
            return Encoded(self.prompt_ids(text.completion), len(self.prefix))
        if text.completion:
            return self.encode(text.prompt, (text.completion,))[0]
        ids = self.prompt_ids(text.prompt)
        return Encoded(ids, len(ids))

    def read_span(self, text: Encoded, at: TokenSelector) -> tuple[int, int]:
        """Half-open span of the real tokens that a selector reads.

        Raises:
            BadData: if the text has no such token.
            BadOption: for an unknown selector.
        """
        total = len(text.ids)
        bos = self.tokenizer.bos_token_id
        spans: dict[str, tuple[int, int]] = {
            "last": (total - 1, total),
            "second_last": (total - 2, total - 1),
            "last_prompt": (text.n_prompt - 1, text.n_prompt),
            "completion": (text.n_prompt, total),
            "mean": (1 if bos is not None and text.ids[0] == bos else 0, total),
        }
        if at not in spans:
            raise BadOption(
                f"{at!r} is no token position to read; choose one of {', '.join(SELECTORS)}"
            )
        start, stop = spans[at]
        if not 0 <= start < stop:
            raise BadData(
                f"the text {self.decode(text.ids)!r} has no token at {at!r}; "
                "read at another position or give longer texts"
            )
        return start, stop

    def decode(self, ids: Sequence[int], *, skip_specials: bool = False) -> str:
        """The text of some tokens."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=skip_specials)
        assert isinstance(text, str)
        return text

    def decode_after(self, prompt: tuple[int, ...], new: list[int]) -> str:
        """The text that new tokens add to a prompt; alone they can lose a leading space."""
        before = self.decode(prompt, skip_specials=True)
        whole = self.decode([*prompt, *new], skip_specials=True)
        if whole.startswith(before):
            return whole[len(before) :]
        return self.decode(new, skip_specials=True)

    def where(self, request: Request, intervention: Intervention) -> list[EditedToken]:
        """The position audit: every real token that the intervention's edits change."""
        edited = []
        for number, text in enumerate(self.encode(request.prompt, request.answers)):
            spans = [
                scope_span(part.tokens, text.n_prompt, len(text.ids))
                for part in intervention.parts
            ]
            for position in sorted({p for span in spans for p in range(*span)}):
                edited.append(
                    EditedToken(
                        position,
                        self.decode([text.ids[position]]),
                        "prompt" if position < text.n_prompt else "answer",
                        number,
                        position < len(text.ids) - 1,
                    )
                )
        return edited


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    shared = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        shared += 1
    return shared


def _tail(text: str) -> str:
    return text if len(text) <= 40 else "..." + text[-40:]


def _fold_system(prompt: tuple[Message, ...]) -> tuple[Message, ...]:
    if prompt[0].role != "system" or len(prompt) < 2:
        return prompt
    first, second, *rest = prompt
    return (Message(second.role, f"{first.content}\n\n{second.content}"), *rest)


def _for_base_model(prompt: tuple[Message, ...]) -> str:
    """A conversation for a base model, up to where its answer begins."""
    text = as_questions(prompt)
    return text if prompt[-1].role == "assistant" else f"{text}\n\nAnswer:"
