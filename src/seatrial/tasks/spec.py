"""A task from plain values, as command lines and plans have them; and its options.

A task is said by its name (ours, ``module:Class``, or that of an installed package), its
source, its options, a prompt condition and, where texts are judged, a judge.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, final, get_args, get_origin, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from seatrial.data import sample_balanced, split
from seatrial.data.catalogue import load_concept
from seatrial.errors import BadOption, UnknownName, unknown
from seatrial.extensions import find
from seatrial.model import Model
from seatrial.tasks import TARGETS, task_named
from seatrial.tasks.base import Contrastive, Task, fit_data
from seatrial.tasks.conditions import NEUTRAL, TAN, Condition, Conditioned, in_condition
from seatrial.tasks.generation import Generation, concept_of, learnt_judge
from seatrial.tasks.judges import ChatServer, Endpoint, Judge, Likelihood
from seatrial.tasks.judges.named import plain_judge
from seatrial.tasks.judges.rubrics import rubric_named
from seatrial.tasks.map import Map
from seatrial.types import FitData

NO_OPTIONS: Mapping[str, Any] = {}


def make_task(
    name: str,
    source: str | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    options: Mapping[str, Any] = NO_OPTIONS,
    judge: Judge | None = None,
) -> Task:
    """A task on a source, with some of its options.

    Args:
        name: as ``task_named`` takes it.
        source: what it is asked on; its first source by default.
        seed: of the split and of the sample.
        limit: at most so many test items.
        options: values by field.
        judge: of ``generation``; its own by default.

    Raises:
        UnknownName: for a task, a source or an option that is not there.
        BadOption: for a value of the wrong type or out of range, or a judge of another
            task.
        SeatrialError: whatever reading the source raises.
    """
    kind = task_named(name)
    source = kind.sources[0] if source is None else source
    if judge is None:
        task = kind.of(source, seed=seed, limit=limit)
    elif issubclass(kind, Generation):
        task = kind.of(source, seed=seed, limit=limit, judge=judge)
    else:
        raise BadOption(f"a judge is of the task 'generation'; {name!r} has none")
    return with_options(task, options)


def make_fit_data(
    name: str,
    source: str,
    *,
    seed: int = 0,
    limit: int | None = None,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> FitData:
    """What a method may look at: the fit split of a source, in the format of a task.

    Args:
        name: of a task that supplies pairs: ``open``, ``propensity``, ``map``, or one from
            outside that is a ``Contrastive``.
        source: a concept or a map.
        seed: of the split and of the sample.
        limit: at most so many pairs, as a seeded sample.
        options: of the task; of a map ``shots`` and ``template``.

    Raises:
        UnknownName: for a task that supplies no pairs, or an option that it does not have.
        BadOption: for a value of the wrong type or out of range.
        SeatrialError: whatever reading the source raises.
    """
    if name == Map.name:
        return _map_fit_data(source, seed, limit, options)
    try:
        kind = find("task", name, TARGETS, Contrastive)
    except UnknownName as error:
        raise unknown("target task", name, [*TARGETS, Map.name]) from error
    concept = load_concept(source)
    parts = split(concept.items, seed=seed)
    parts["fit"] = sample_balanced(parts["fit"], limit, seed=seed)
    task = with_options(kind(parts), options)  # pyright: ignore[reportCallIssue]
    assert isinstance(task, Contrastive)
    return fit_data(concept, task)


def _map_fit_data(
    source: str, seed: int, limit: int | None, options: Mapping[str, Any]
) -> FitData:
    known = ("shots", "template")
    for key in options:
        if key not in known:
            raise unknown("option of a map that is fitted on", key, known)
    task = Map.of(source, seed=seed)
    checked = with_options(task, options)
    values = {key: getattr(checked, key) for key in options}
    return task.fit_data(limit=limit, **values)


def in_conditions(
    task: Task,
    condition: str,
    *,
    source: str,
    size: int | None = None,
    concept: str | None = None,
) -> list[Task]:
    """The task itself for ``base``, else the task in the condition.

    Args:
        task: is not told.
        condition: its name, or ``all`` for the five of Tan et al.
        source: what the task was made of, whose instructions prompts carry.
        size: of a neutral condition.
        concept: whose instructions they carry instead.

    Raises:
        UnknownName: for a condition or a concept that is not there.
        BadOption: for a concept or a size that the condition does not need, or a task
            that is about no concept.
        BadData: if there is no instruction where one is needed.
    """
    if condition == "all":
        conditions = [Condition(name, size) for name in TAN]
    elif condition in (*TAN, *NEUTRAL):
        conditions = [Condition(condition, size)]
    else:
        raise unknown("condition", condition, [*TAN, *NEUTRAL, "all"])
    instructions = None
    if any(each.needs_instructions for each in conditions):
        kind = type(task) if concept is None else Contrastive
        instructions = kind.instructions(source if concept is None else concept)
    elif concept is not None:
        raise BadOption(
            "--concept says whose instructions the prompts carry, and under the condition "
            f"{condition} they carry none; give another --condition"
        )
    if condition == "base":
        return [task]
    return [in_condition(task, each, instructions) for each in conditions]


@final
@dataclass(frozen=True)
class JudgeSpec:
    """A judge in plain values."""

    name: str | None = None
    """lexicon, regex:PATTERN, classifier, likelihood or endpoint; None: the task's own."""
    url: str = ""
    """Of the server of ``endpoint``, without /chat/completions."""
    model: str = ""
    """The name of its model."""
    key: str = ""
    """The environment variable that holds its key, never the key."""
    rubric: str = "caa"
    """What it is asked."""


def make_judge(
    spec: JudgeSpec, source: str, *, seed: int, model: Callable[[], Model]
) -> Judge | None:
    """The judge that plain values name; None where they name none.

    Args:
        spec: what is said of it.
        source: of the task ``generation``, for ``classifier``.
        seed: of its split.
        model: gives the model that ``likelihood`` asks unsteered.

    Raises:
        UnknownName: for a judge or a rubric that is not there.
        BadOption: for options of a server without ``endpoint``, or without what it needs.
        SeatrialError: whatever reading the source or loading the model raises.
    """
    if spec.name != "endpoint" and spec != JudgeSpec(spec.name):
        raise BadOption(
            "--judge-url, --judge-model, --judge-key and --rubric are of a judge behind a "
            "server; add --set judge=endpoint"
        )
    match spec.name:
        case None:
            return None
        case "endpoint":
            rubric = rubric_named(spec.rubric)
            if not (spec.url and spec.model):
                raise BadOption(
                    "--set judge=endpoint needs a server and a model: add --judge-url, "
                    "such as http://127.0.0.1:8080/v1, and --judge-model"
                )
            return Endpoint(ChatServer(spec.url, spec.model, spec.key), rubric)
        case "likelihood":
            return Likelihood(model())
        case "classifier":
            return learnt_judge(
                source, split(concept_of(source).items, seed=seed)["select"]
            )
        case _:
            return plain_judge(spec.name)


def with_options(task: Task, options: Mapping[str, Any]) -> Task:
    """The task with some of its fields replaced.

    Args:
        task: is not changed. Its options are the fields that have defaults.
        options: values by field. A judge is one, or the name of a plain one
            (``judge="regex:sorry"``).

    Raises:
        UnknownName: for a field that is no option.
        BadOption: for a value of the wrong type or out of range.
    """
    known = option_values(task)
    for key in options:
        if key not in known:
            raise unknown(f"option of {task.name!r}", key, known)
    checked = {key: _checked(task, key, value) for key, value in options.items()}
    # At once: what one option allows can depend on another.
    return replace(task, **checked)  # pyright: ignore[reportArgumentType]


def option_values(task: Task) -> dict[str, Any]:
    """Fields that can be set, which are those with defaults, with their values."""
    assert is_dataclass(task)
    options = (part.name for part in fields(task) if _is_option(part))
    return {name: getattr(task, name) for name in options}


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
    return [
        Option(
            part.name,
            _default(part),
            _choices(hints[part.name]),
            meanings.get(part.name, ""),
        )
        for part in fields(kind)
        if _is_option(part)
    ]


def _default(part: Field) -> str:
    make = part.default_factory
    default = part.default if make is MISSING else make()
    return default.name if isinstance(default, Judge) else str(default)


def _choices(hint: Any) -> tuple[str, ...]:
    """The words of a Literal, also of one that may be left out."""
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    return tuple(word for part in get_args(hint) for word in _choices(part))


class _Descriptions(GenerateJsonSchema):
    """A schema for its descriptions alone: what has no plain value is passed over."""

    ignored_warning_kinds = {  # noqa: RUF012  # pyright: ignore
        *GenerateJsonSchema.ignored_warning_kinds,
        "non-serializable-default",
    }

    def handle_invalid_for_json_schema(
        self, schema: Any, error_info: str
    ) -> dict[str, Any]:
        return {}


def _meanings(kind: type) -> dict[str, str]:
    """The first sentence under each field, in the class or in those that it is made of."""
    meanings: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if "__dataclass_fields__" not in vars(each):
            continue
        schema = TypeAdapter(each).json_schema(schema_generator=_Descriptions)
        for name, entry in schema.get("properties", {}).items():
            if text := entry.get("description"):
                flat = " ".join(text.replace("``", "").split())
                meanings[name] = flat.partition(". ")[0].rstrip(".")
    return meanings


def identity_of(task: Task) -> dict[str, Any]:
    """All that can change the scores of a task on its items, as plain values.

    A judge stands there by its identity: its name, its model and how that is asked, and the
    version of its rubric.
    """
    if isinstance(task, Conditioned):
        size = {} if task.condition.size is None else {"size": task.condition.size}
        carried = {"condition": task.condition.name, **size}
        return identity_of(task.task) | carried | {"instruction": task.instruction}
    options = {
        key: value.identity if isinstance(value, Judge) else value
        for key, value in option_values(task).items()
    }
    if isinstance(task, Generation):
        options["concept"] = task.concept  # judges read it
    return {
        "task": task.name,
        "version": task.version,
        "options": options,
        "condition": "base",
        "instruction": "",
    }


def _is_option(part: Field) -> bool:
    has_default = part.default is not MISSING or part.default_factory is not MISSING
    return part.init and has_default


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
