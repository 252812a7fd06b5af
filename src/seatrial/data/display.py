"""How data shows itself: a line at a prompt, in a notebook a small table, never all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any

SHOWN = 3
"""Items that are shown."""

WIDTH = 60
"""Characters of a text that are shown."""

KINDS = 4
"""Kinds of items that are counted one by one."""

_UNSHOWN = ("id", "row", "published")
"""Fields that say nothing to somebody who looks at a few items."""


def shortened(value: object, width: int = WIDTH) -> str:
    """A value as one line of at most so many characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def counted(items: Sequence[Any], noun: str) -> str:
    """How many items there are, in how many groups and of which kinds."""
    groups = len({item.group for item in items})
    parts = [f"{len(items)} {noun} in {groups} groups"]
    for field in ("matching", "category"):
        counts = Counter(getattr(item, field, "") for item in items)
        if len(counts) > 1 and "" not in counts:
            shown = [f"{n} {shortened(kind)}" for kind, n in counts.most_common(KINDS)]
            more = len(counts) - KINDS
            parts.append(", ".join([*shown, *([f"{more} kinds more"] if more > 0 else [])]))
    return "; ".join(parts)


def line(kind: str, name: str, about: str, items: Sequence[Any], noun: str) -> str:
    """What stands at a prompt."""
    return f"<{kind} {shortened(name)!r}: {shortened(about)}; {counted(items, noun)}>"


def html_table(name: str, about: str, items: Sequence[Any], noun: str) -> str:
    """What stands in a notebook: HTML with the first items, every text escaped."""
    first = items[:SHOWN]
    head = f"<b>{escape(shortened(name))}</b>: {escape(shortened(about, 3 * WIDTH))}"
    head = f"<p>{head}<br>{escape(counted(items, noun))}</p>"
    if not first or not is_dataclass(first[0]):
        return head
    names = [part.name for part in fields(first[0]) if part.name not in _UNSHOWN]
    titles = "".join(f"<th>{escape(title)}</th>" for title in names)
    rows = [
        "".join(f"<td>{escape(shortened(getattr(item, key)))}</td>" for key in names)
        for item in first
    ]
    body = "".join(f"<tr>{cells}</tr>" for cells in rows)
    more = f"<p>and {len(items) - SHOWN} more</p>" if len(items) > SHOWN else ""
    return f"{head}<table><tr>{titles}</tr>{body}</table>{more}"
