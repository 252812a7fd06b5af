"""Names and sentences of the source: what a thing is called, once, in whole lines."""

import ast
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "seatrial"
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
}
DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

WHAT_WAS_DONE_TO_IT = {"found", "asked", "said", "wanted", "told"}

WIDTH = 92
SPARE = 16
"""A line is broken early if the next word fits in with so many columns to spare."""
SECTIONS = {"Args:", "Raises:", "Returns:", "Yields:"}
ITEM = re.compile(r"[-*] |\d+\. |::|=+ ")

PARSED = "each source of data has its `parse`, called as a module's: alpaca_eval.parse"
COMMAND = "a command is named after the function that it calls"
SHARED = {
    "lint": COMMAND,
    "measure": COMMAND,
    "parse": PARSED,
    "pull": COMMAND,
    "run": COMMAND,
}
"""Public names that several modules may have, with the reason."""


def names_of(node):
    """What a node gives a name to."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.arg):
        return node.arg
    return getattr(node, "name", None) if isinstance(node, DEFINITION) else None


def early_breaks(lines):
    """Lines of a docstring that end although the next word would have fitted in."""
    base = len(lines[0]) - len(lines[0].lstrip())
    in_section = False
    for line, following in pairwise(lines):
        text, beyond = line.strip(), following.strip()
        if text in SECTIONS:
            in_section = True
        elif text and beyond and beyond != '"""' and not ITEM.match(beyond):
            indent, after = (len(s) - len(s.lstrip()) for s in (line, following))
            is_formula = not in_section and (indent > base or after > base)
            is_entry = in_section and after == base + 4
            word = beyond.split()[0].replace('"""', "")
            is_early = len(line.rstrip()) + 1 + len(word) + SPARE <= WIDTH
            if is_early and not is_formula and not is_entry and not ITEM.match(text):
                yield text


def docstrings(path, tree):
    source = (ROOT / path).read_text("utf-8").splitlines()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str())) if node.end_lineno:
                yield source[node.lineno - 1 : node.end_lineno]


def test_names_say_what_a_thing_is_and_not_what_was_done_to_it():
    private = {
        f"{path}:{node.lineno} {name}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if (name := names_of(node)) in WHAT_WAS_DONE_TO_IT
    }

    assert not private


def test_lines_of_docstrings_are_full():
    broken = {
        f"{path}: {line}"
        for path, tree in TREES.items()
        for lines in docstrings(path, tree)
        for line in early_breaks(lines)
    }

    assert not broken


def test_a_line_that_ends_early_is_noticed_and_an_entry_or_a_formula_is_not():
    lines = [
        '    """A sentence.',
        "",
        "    Two words",
        "    and so on, to the end.",
        "",
        "        h <- h + v",
        "        v = mean",
        "",
        "    Args:",
        "        one: this.",
        "        other: that.",
        '    """',
    ]

    assert list(early_breaks(lines)) == ["Two words"]


def test_every_public_name_has_one_owner():
    owners = defaultdict(list)
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, DEFINITION) and not node.name.startswith("_"):
                owners[node.name].append(path)
    several = {name: paths for name, paths in owners.items() if len(paths) > 1}

    assert several.keys() == SHARED.keys(), several
