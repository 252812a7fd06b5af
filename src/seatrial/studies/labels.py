"""What the names in a study's store mean, out of its tasks and methods."""

from collections.abc import Sequence

from seatrial.methods import Instruction, Method, Random, Shuffled, method_named
from seatrial.store import Kind, Labels, MetricLabel, SteeringLabel, TaskLabel
from seatrial.studies.study import Study
from seatrial.tasks import Contrastive, Prose, Scored, Task
from seatrial.types import Role

NO_METHOD = "unsteered"
"""What stands in the place of a method for the model as it is."""


def labels_of(study: Study, targets: Sequence[Task], guards: Sequence[Task]) -> Labels:
    """The labels of everything that a study measures, its tasks made already."""
    methods = [method_named(options["name"]) for options in study.methods]
    return Labels(
        tuple(_task(task, "target") for task in targets),
        tuple(_task(task, "guard") for task in guards),
        (
            SteeringLabel(NO_METHOD, "unsteered", "the model as it is"),
            *(
                SteeringLabel(method.name, kind_of(method), method.summary)
                for method in (*methods, Random, Shuffled, Instruction)
            ),
        ),
        study.budget,
    )


def kind_of(method: Method | type[Method] | None) -> Kind:
    """What a method is there for in a study."""
    if method is None:
        return "unsteered"
    if method.is_control:
        return "control"
    return "baseline" if method.name == Instruction.name else "method"


def _task(task: Task, role: Role) -> TaskLabel:
    name, unit = task.about.metric, task.about.unit
    ends = task.about.bounds.get(name)
    metrics = [MetricLabel(name, unit, "verdict", task.about.sign, ends)]
    if isinstance(task, Contrastive):
        metrics += [
            MetricLabel("matching", unit, "promoted"),
            MetricLabel("other", unit, "suppressed"),
            MetricLabel("order", unit, "order"),
        ]
    if isinstance(task, Scored) and task.needs_kl:
        metrics.append(MetricLabel("kl", "nats per token", "drift"))
    is_priced = isinstance(task, Prose)
    return TaskLabel(task.name, role, task.summary, tuple(metrics), is_priced)
