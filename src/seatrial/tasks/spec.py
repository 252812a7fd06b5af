"""Options of a task from plain values: names checked, types checked, one sentence each."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any, Literal, final, get_args, get_origin, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from seatrial.errors import BadOption, unknown
from seatrial.tasks.base import Contrastive, Task
from seatrial.tasks.conditions import Shifted
from seatrial.tasks.judges import Judge
from seatrial.tasks.judges.named import plain_judge
from seatrial.tasks.open import Open
from seatrial.tasks.propensity import Propensity

_INNER: dict[str, type[Contrastive]] = {"propensity": Propensity, "open": Open}


def with_options(task: Task, options: Mapping[str, Any]) -> Task:
    """The task with some of its fields replaced.

    Args:
        task: is not changed. Its options are the fields that have defaults.
        options: values by field. A task inside of the task is named (``inner="open"``),
            and its own fields follow a dot (``{"inner.form": "ab"}``). A judge is one, or
            the name of a plain one (``judge="regex:sorry"``).

    Raises:
        UnknownName: for a field that is no option, or a task that does not exist.
        BadOption: for a value of the wrong type or out of range.
    """
    known = options_of(task)
    changed: dict[str, Any] = {}
    for key, value in options.items():
        head, _, rest = key.partition(".")
        if head not in known or (rest and not isinstance(known[head], Task)):
            raise unknown(f"option of {task.name!r}", key, known)
        current = changed.get(head, known[head])
        if rest:
            changed[head] = with_options(current, {rest: value})
        elif isinstance(current, Contrastive):
            changed[head] = _other(current, value)
        else:
            changed[head] = _checked(task, head, value)
    # At once: what one option allows can depend on another.
    return replace(task, **changed)  # pyright: ignore[reportArgumentType]


def options_of(task: Task) -> dict[str, Any]:
    """Fields that can be set, with their values: those with defaults, and inner tasks."""
    assert is_dataclass(task)
    values = [(part, getattr(task, part.name)) for part in fields(task) if part.init]
    return {
        part.name: value
        for part, value in values
        if _has_default(part) or isinstance(value, Contrastive)
    }


@final
@dataclass(frozen=True)
class Option:
    """One option of a kind of task, for people who choose."""

    name: str
    default: str
    choices: tuple[str, ...]
    """Empty where it is no choice of a few words."""
    meaning: str


def options_for(kind: type[Task]) -> list[Option]:
    """All options that the tasks of a kind have, without making one."""
    assert is_dataclass(kind)
    meanings, hints = _meanings(kind), get_type_hints(kind)
    found = []
    for part in fields(kind):
        hint = hints[part.name]
        if hint is Contrastive:
            inner = Option(part.name, "propensity", tuple(_INNER), meanings[part.name])
            found.append(inner)
        elif part.init and _has_default(part):
            make = part.default_factory
            default = part.default if make is MISSING else make()
            shown = default.name if isinstance(default, Judge) else str(default)
            meaning = meanings.get(part.name, "")
            found.append(Option(part.name, shown, _choices(hint), meaning))
    return found


def _choices(hint: Any) -> tuple[str, ...]:
    """The words of a Literal, also of one that may be left out."""
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    return tuple(word for part in get_args(hint) for word in _choices(part))


def _meanings(kind: type) -> dict[str, str]:
    """The first sentence under each field, in the class or in those that it is made of."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        if not each.__module__.startswith("seatrial."):
            continue
        [body] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(body, ast.ClassDef)
        for line, after in pairwise(body.body):
            match line, after:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    flat = " ".join(text.replace("``", "").split())
                    found[name] = flat.partition(". ")[0].rstrip(".")
    return found


def identity_of(task: Task) -> dict[str, Any]:
    """All that can change the scores of a task on its items, as plain values.

    A judge stands there by its identity: its name, its model and how that is asked, and the
    version of its rubric.
    """
    if isinstance(task, Shifted):
        told = {"condition": task.condition, "instruction": task.instruction}
        return identity_of(task.task) | told
    about = {"task": task.name, "version": task.version, "options": _plain(task)}
    return {**about, "condition": "base", "instruction": ""}


def _plain(task: Task) -> dict[str, Any]:
    plain = {}
    for key, value in options_of(task).items():
        if isinstance(value, Task):
            plain[key] = {"task": value.name, "version": value.version, **_plain(value)}
        else:
            plain[key] = value.identity if isinstance(value, Judge) else value
    return plain


def _has_default(part: Field) -> bool:
    return part.default is not MISSING or part.default_factory is not MISSING


def _other(inner: Contrastive, name: object) -> Contrastive:
    if name not in _INNER:
        raise unknown("concept task", str(name), _INNER)
    return _INNER[str(name)](inner.splits)  # pyright: ignore[reportCallIssue]


def _checked(task: Task, key: str, value: object) -> object:
    hint = get_type_hints(type(task))[key]
    if hint is Judge:
        return value if isinstance(value, Judge) else plain_judge(str(value))
    try:
        return TypeAdapter(hint).validate_python(value)
    except PydanticSchemaGenerationError as error:
        raise BadOption(
            f"{key} of {task.name!r} is no plain value and cannot be set by name; build "
            "the task in Python"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"][0].lower() + first["msg"][1:]
        raise BadOption(f"{key} of {task.name!r}: {message} (got {value!r})") from error
