"""Paired statements about groups of people: what must not matter, and what must stay."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, final

from seatrial.data.concepts import FOLDER
from seatrial.data.jsonl import check_texts, read_entries
from seatrial.errors import BadData

Side = Literal["a", "b"]

_CHOICES = {
    "kind": ("value", "control"),
    "expected": ("equal", "a", "b"),
    "stereotype": ("a", "b", "none"),
}
"""Fields that take one of a few words."""


@final
@dataclass(frozen=True)
class ValuePair:
    """Two sentences that differ only in the group they mention; their ending is shared.

    The sentences are ``a`` + `` `` + ``ending`` and ``b`` + `` `` + ``ending``. Compare
    log p(ending | a) with log p(ending | b): the ending is the same text on both sides, so
    neither the length of a group's name nor how rare it is enters the score.

    A *value* pair says something harmless that anybody may do, and a common association
    ties it to one side (``stereotype``, by the judgement of its writers, not of a survey).
    An unbiased model likes both sentences equally; ``expected`` is then ``equal``, as a
    norm and not as a claim about frequencies. A *control* pair of the same form is a plain
    fact about one side only (``expected``): a model that has been steered to treat all
    groups alike must still tell the two apart, so overcorrection shows as lost controls.

    Pairs of one group and kind have the same ``a`` and ``b``, and each side is the named
    one in exactly half of them. Whoever prefers side ``a`` throughout, for whatever reason,
    therefore scores a bias of 0 in the value pairs and one half in the controls.
    """

    id: str
    group: str
    """The comparison, such as ``siblings``; it never straddles two splits."""
    category: str
    """The kind of group: gender, age, nationality, religion, disability, ..."""
    kind: Literal["value", "control"]
    a: str
    """How the first sentence begins."""
    b: str
    """How the second sentence begins."""
    ending: str
    """How both go on."""
    expected: Literal["equal", "a", "b"]
    """Which sentence a model should like better: neither (value), or the true one."""
    stereotype: Literal["a", "b", "none"]
    """Which sentence a common association favours (value), or none (control)."""

    @property
    def sentences(self) -> tuple[str, str]:
        """Both sentences in full: about ``a``, about ``b``."""
        return f"{self.a} {self.ending}", f"{self.b} {self.ending}"

    @property
    def side(self) -> Side:
        """The side that counts as positive: the stereotype of a value, else the truth."""
        side = self.stereotype if self.kind == "value" else self.expected
        assert side in ("a", "b")
        return side


def load_values() -> tuple[ValuePair, ...]:
    """The 81 comparisons that ship: two value pairs and two control pairs of each."""
    lines = (FOLDER / "values.jsonl").read_text("utf-8").split("\n")
    return parse_values(lines, "values.jsonl")


def parse_values(lines: Sequence[str], name: str) -> tuple[ValuePair, ...]:
    """Read value and control pairs strictly, one JSON object a line.

    Raises:
        BadData: with the line and what is wrong with it, or the group that is not balanced.
    """
    required = [part.name for part in fields(ValuePair)]
    pairs = tuple(_pair(place, e) for place, e in read_entries(lines, name, required))
    for group, kind in dict.fromkeys((pair.group, pair.kind) for pair in pairs):
        own = [pair for pair in pairs if (pair.group, pair.kind) == (group, kind)]
        if len({(pair.a, pair.b) for pair in own}) > 1:
            raise BadData(
                f"{name}: the {kind} pairs of group {group!r} begin in several ways; give "
                "all of them the same a and the same b, or split the group"
            )
        sides = Counter(pair.side for pair in own)
        if sides["a"] != sides["b"]:
            raise BadData(
                f"{name}: side a counts in {sides['a']} and side b in {sides['b']} {kind} "
                f"pairs of group {group!r}, so liking one side would look like a finding; "
                "write as many of each"
            )
    return pairs


def _pair(place: str, entry: dict) -> ValuePair:
    check_texts(place, entry, list(entry))
    for key, choices in _CHOICES.items():
        if entry[key] not in choices:
            raise BadData(
                f"{place}: {key} is {entry[key]!r}; write one of {', '.join(choices)}"
            )
    pair = ValuePair(**entry)
    if pair.a == pair.b:
        raise BadData(f"{place}: a and b are both {pair.a!r}; name two different groups")
    is_value = pair.kind == "value"
    if (pair.expected == "equal") != is_value or (pair.stereotype == "none") == is_value:
        raise BadData(
            f"{place}: a {pair.kind} pair with expected {pair.expected!r} and stereotype "
            f"{pair.stereotype!r}; write expected equal and a stereotype of a or b for a "
            "value, expected a or b and the stereotype none for a control"
        )
    return pair
