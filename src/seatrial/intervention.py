"""What a fitted method is: edits of activations, prompt and readout, to be saved."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, final, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from seatrial.edits import EDITS, Add, Edit
from seatrial.errors import BadFile, BadOption, StoreFault
from seatrial.readouts import READOUTS, Readout
from seatrial.types import Message, Origin, Point, Prompt, Site, Text

FORMAT = 2
"""Version of the file format; a file of another version is refused."""

SCOPES = ("all", "prompt", "last", "from_last_prompt", "generated")
"""Named token scopes; ``first_K`` (the first K tokens) exists beside them."""


def check_scope(tokens: str) -> str:
    """Return a token scope unchanged.

    Raises:
        BadOption: if it is neither one of ``SCOPES`` nor ``first_K`` with K at least 1.
    """
    if tokens in SCOPES or re.fullmatch(r"first_[1-9]\d*", tokens):
        return tokens
    raise BadOption(
        f"{tokens!r} is no token scope; choose one of {', '.join(SCOPES)}, "
        "or first_K with a number, such as first_5"
    )


def scope_span(tokens: str, n_prompt: int, n_total: int) -> tuple[int, int]:
    """Which positions a scope edits, as a half-open span of real-token indices.

    Args:
        tokens: the scope.
        n_prompt: how many real tokens the prompt has, at least 1.
        n_total: how many the whole sequence has.
    """
    match tokens:
        case "all":
            return 0, n_total
        case "prompt":
            return 0, n_prompt
        case "last":
            return n_prompt - 1, n_prompt
        case "from_last_prompt":
            return n_prompt - 1, n_total
        case "generated":
            return n_prompt, n_total
        case _:
            return 0, min(int(check_scope(tokens).removeprefix("first_")), n_total)


@final
@dataclass(frozen=True)
class PromptEdit:
    """A change of the input: words for a behaviour (dose 1) or against it (dose -1)."""

    encourage: str
    """An instruction that asks for the behaviour; may be empty."""
    discourage: str
    """Its opposite."""
    positive: tuple[Text, ...] = ()
    """Demonstrations of the behaviour."""
    negative: tuple[Text, ...] = ()
    """Demonstrations of its absence or opposite."""

    def __call__(self, prompt: Prompt, dose: float) -> Prompt:
        """The prompt with instruction and demonstrations where its form has them.

        A conversation gets the instruction as system message (before the text of an
        existing one) and each demonstration as a finished exchange before its first turn;
        plain text gets them as paragraphs in front. A demonstration of the other form is
        put into this one, and its system message is left out.

        Raises:
            BadOption: for any dose but -1, 0 and 1: half an instruction means nothing.
        """
        if dose == 0:
            return prompt
        if dose not in (-1, 1):
            raise BadOption(f"a prompt can only have the doses -1, 0 and 1, not {dose}")
        instruction = self.encourage if dose == 1 else self.discourage
        shown = self.positive if dose == 1 else self.negative
        if isinstance(prompt, str):
            opening = (instruction,) if instruction else ()
            return "\n\n".join((*opening, *map(_as_paragraphs, shown), prompt))
        system, turns = prompt[:1], prompt[1:]
        if not system or system[0].role != "system":
            system, turns = (), prompt
        if instruction:
            joined = "\n\n".join((instruction, *(message.content for message in system)))
            system = (Message("system", joined),)
        exchanges = [message for text in shown for message in _as_exchange(text)]
        return (*system, *exchanges, *turns)


def _as_exchange(text: Text) -> tuple[Message, ...]:
    """A demonstration as finished turns of a conversation."""
    prompt, completion = text
    if isinstance(prompt, str):
        return Message("user", prompt), Message("assistant", completion.strip())
    turns = [message for message in prompt if message.role != "system"]
    if turns and turns[-1].role == "assistant":
        begun = turns.pop()
        completion = begun.content + completion
    return (*turns, Message("assistant", completion))


_LABELS = {"user": "Question: ", "assistant": "Answer: "}
"""How a conversation is written for a model that knows none; see ``model.tokens``."""


def _as_paragraphs(text: Text) -> str:
    """A demonstration as plain text."""
    if isinstance(text.prompt, str):
        return text.prompt + text.completion
    turns = _as_exchange(text)
    return "\n\n".join(f"{_LABELS[turn.role]}{turn.content}" for turn in turns)


@final
@dataclass(frozen=True, eq=False)
class Part:
    """Edits that share a token scope."""

    edits: Mapping[Site, Edit]
    tokens: str = "all"

    def __post_init__(self) -> None:
        check_scope(self.tokens)
        object.__setattr__(
            self, "edits", MappingProxyType(dict(sorted(self.edits.items())))
        )


@final
@dataclass(frozen=True, eq=False)
class Intervention:
    """What is done to a model while it runs; the model itself is never changed.

    An intervention without edits, prompt edit and readout is the unsteered model.
    """

    edits: Mapping[Site, Edit] = field(default_factory=dict)
    """What is done to activations, by site."""
    tokens: str = "all"
    """Which positions are edited: one of ``SCOPES`` or ``first_K``."""
    prompt: PromptEdit | None = None
    """What is done to the input."""
    origin: Origin | None = None
    """Where it was fitted; ``None`` for one made by hand."""
    readout: Readout | None = None
    """What is done to the next-token distribution."""
    also: tuple[Part, ...] = ()
    """Further edits with token scopes of their own, made after the others, in order."""

    def __post_init__(self) -> None:
        check_scope(self.tokens)
        object.__setattr__(
            self, "edits", MappingProxyType(dict(sorted(self.edits.items())))
        )

    @property
    def parts(self) -> tuple[Part, ...]:
        """All edits of activations, by token scope, in the order in which they are made."""
        return tuple(
            part for part in (Part(self.edits, self.tokens), *self.also) if part.edits
        )

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing at any dose."""
        return not (self.parts or self.prompt or self.readout)

    def norms(self) -> dict[Site, float]:
        """Length of every added vector, by site (other kinds of edits have none)."""
        return {
            site: float(edit.vector.norm())
            for site, edit in self.edits.items()
            if isinstance(edit, Add)
        }

    def save(self, path: Path | str) -> None:
        """Write the intervention as safetensors with a JSON header.

        Raises:
            BadOption: for an edit of a kind that is not in ``EDITS``.
            StoreFault: if the file cannot be written (disk full, no permission).
        """
        kinds = {kind: name for name, kind in EDITS.items()}
        tensors: dict[str, torch.Tensor] = {}
        listed = []
        for number, (site, edit) in enumerate(self.edits.items()):
            if type(edit) not in kinds:
                raise BadOption(
                    f"an edit of kind {type(edit).__name__!r} cannot be saved; the kinds "
                    f"on disk are {', '.join(EDITS)}. Add yours to seatrial.edits.EDITS"
                )
            listed.append(
                {"layer": site.layer, "point": site.point, "kind": kinds[type(edit)]}
            )
            for part in fields(edit):  # pyright: ignore[reportArgumentType]
                value = getattr(edit, part.name)
                tensors[f"{number}.{part.name}"] = value.detach().cpu().contiguous().clone()
        header = {
            "format": FORMAT,
            "library": f"seatrial {version('seatrial')}",
            "tokens": self.tokens,
            "edits": listed,
            "prompt": asdict(self.prompt) if self.prompt else None,
            "readout": _readout_header(self.readout),
            "origin": asdict(self.origin) if self.origin else None,
        }
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # safetensors wants at least one tensor, and a prompt edit has none.
            save_file(
                tensors or {"empty": torch.zeros(1)},
                partial,
                {"seatrial": json.dumps(header, sort_keys=True)},
            )
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise StoreFault(
                f"cannot write {path}: {error}; free space or choose another place"
            ) from error

    @staticmethod
    def load(path: Path | str) -> "Intervention":
        """Read what ``save`` wrote, exactly.

        Raises:
            BadFile: if the file is missing, corrupt, not ours, of another format
                version, or has unknown or missing fields.
        """
        path = Path(path)
        if not path.is_file():
            raise BadFile(f"{path} does not exist; a steering is made with `seatrial fit`")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                # Copies, because memory that is not aligned makes products round otherwise.
                tensors = {n: file.get_tensor(n).clone() for n in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise BadFile(
                f"{path} is no readable safetensors file ({error}); fit it again"
            ) from error
        if "seatrial" not in metadata:
            raise BadFile(
                f"{path} is a safetensors file, but no seatrial steering (its header lacks "
                "'seatrial'); make one with `seatrial fit`"
            )
        return _parse(path, metadata["seatrial"], tensors)


def _parse(path: Path, header_text: str, tensors: dict[str, torch.Tensor]) -> Intervention:
    try:
        header = json.loads(header_text)
    except json.JSONDecodeError as error:
        raise BadFile(f"{path} has a broken header ({error}); fit it again") from error
    if not isinstance(header, dict):
        raise BadFile(f"{path} has a header that is no table of fields; fit it again")
    if header.get("format") != FORMAT:
        raise BadFile(
            f"{path} has format version {header.get('format')!r}, this seatrial reads "
            f"{FORMAT}; fit it again, or use the seatrial that wrote it "
            f"({header.get('library', 'unknown')})"
        )
    wanted = {"format", "library", "tokens", "edits", "prompt", "readout", "origin"}
    if set(header) != wanted:
        odd = sorted(wanted ^ set(header))
        raise BadFile(
            f"{path} has unknown or missing header fields: {', '.join(odd)}; fit it again"
        )
    edits: dict[Site, Edit] = {}
    try:
        for number, entry in enumerate(header["edits"]):
            kind = EDITS[entry["kind"]]
            parts = {part.name: tensors[f"{number}.{part.name}"] for part in fields(kind)}  # pyright: ignore[reportArgumentType]
            layer, point = entry["layer"], entry["point"]
            if type(layer) is not int or layer < 0 or point not in get_args(Point):
                raise BadFile(
                    f"{path} edits at {layer!r}.{point}, which is no site; fit it again"
                )
            edits[Site(layer, point)] = kind(**parts)
        prompt = _parse_prompt(**header["prompt"]) if header["prompt"] else None
        readout = None
        if header["readout"]:
            options = dict(header["readout"])
            options["layers"] = tuple(options["layers"])  # JSON knows lists only
            readout = READOUTS[options.pop("kind")](**options)
        origin = Origin(**header["origin"]) if header["origin"] else None
        return Intervention(edits, header["tokens"], prompt, origin, readout)
    except (KeyError, TypeError) as error:
        raise BadFile(f"{path} lacks or misnames a part ({error}); fit it again") from error
    except BadOption as error:
        raise BadFile(
            f"{path} holds a value out of range ({error}); fit it again"
        ) from error


def _readout_header(readout: Readout | None) -> dict[str, object] | None:
    if readout is None:
        return None
    for name, kind in READOUTS.items():
        if type(readout) is kind:
            return {"kind": name, **asdict(readout)}
    raise BadOption(
        f"a readout of kind {type(readout).__name__!r} cannot be saved; the kinds on disk "
        f"are {', '.join(READOUTS)}. Add yours to seatrial.readouts.READOUTS"
    )


def _parse_prompt(
    *, encourage: str, discourage: str, positive: list, negative: list
) -> PromptEdit:
    """A prompt edit from what JSON makes of it; all of its fields must be there."""
    return PromptEdit(
        encourage,
        discourage,
        tuple(_parse_text(*entry) for entry in positive),
        tuple(_parse_text(*entry) for entry in negative),
    )


def _parse_text(prompt: str | list, completion: str) -> Text:
    if isinstance(prompt, str):
        return Text(prompt, completion)
    return Text(tuple(Message(*message) for message in prompt), completion)


class Steering(NamedTuple):
    """An intervention at a dose: what a model answers *under*."""

    intervention: Intervention
    dose: float = 1.0


UNSTEERED = Steering(Intervention(), 0.0)
"""The model as it is."""
