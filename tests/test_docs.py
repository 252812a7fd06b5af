"""The documentation is executed, and what it names exists."""

import contextlib
import functools
import io
import itertools
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)
WITH_PYTHON = [page for page in DOCS if "```python" in (ROOT / page).read_text("utf-8")]
NUMBER = re.compile(r"(?<![-\w])[TRH]\d{1,2}(?![-\w])")

TO_WRITE = "mean_state"  # what a reader is to write


def read(page):
    return (ROOT / page).read_text("utf-8")


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    text = read(page)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    if 'Model.load("smollm2-135m")' in text:
        from seatrial.files import cache_folder

        if not any(cache_folder("models").glob("smollm2-135m-*/seatrial.json")):
            pytest.skip("needs smollm2-135m; fetch it with `seatrial pull smollm2-135m`")
    monkeypatch.chdir(tmp_path)

    exec(compile("\n".join(blocks), page, "exec"), {"__name__": "docs"})


COMMAND_LINES = {
    page: [
        shlex.split(line, comments=True)[1:]
        for line in re.findall(r"^seatrial .*", text.replace("\\\n", ""), re.MULTILINE)
    ]
    for page in DOCS
    if re.search(r"^seatrial ", text := (ROOT / page).read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("page", COMMAND_LINES)
def test_commands_in_the_docs_exist(page):
    from seatrial.cli import COMMANDS

    shown = {words[0] for words in COMMAND_LINES[page]}
    shown |= set(re.findall(r"`seatrial (\w+)", read(page)))

    assert shown
    assert shown <= {*COMMANDS, "fit"}


@functools.cache
def help_of(*command):
    from seatrial.cli import main

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        main([*command, "--help"])
    return text.getvalue()


@pytest.mark.parametrize("page", COMMAND_LINES)
def test_commands_in_the_docs_have_the_flags_that_are_shown(page, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    for words in COMMAND_LINES[page]:
        # A reader's own method has the flags that ours have in common.
        method = ["caa" if ":" in words[1] else words[1]] if words[0] == "fit" else []
        described = help_of(words[0], *method)
        for flag in (word for word in words if word.startswith("--")):
            assert re.search(rf"(?<!\S){flag}(?![^\s,])", described), (words, flag)


@pytest.mark.parametrize("page", COMMAND_LINES)
def test_commands_in_the_docs_set_options_that_a_task_has(page):
    from seatrial import TASKS
    from seatrial.tasks.spec import options_for

    for words in COMMAND_LINES[page]:
        if words[0] != "measure" or "--set" not in words:
            continue
        known = {option.name for option in options_for(TASKS[words[1]])}
        changes = words[words.index("--set") + 1 :]
        changes = list(itertools.takewhile(lambda word: not word.startswith("--"), changes))
        assert {change.partition("=")[0] for change in changes} <= {*known, "judge"}


def test_the_page_of_hazards_lists_all_of_them_in_order():
    numbered = re.findall(r"^\| ([TRH]\d+) \|", read("docs/hazards.md"), re.MULTILINE)

    assert numbered == [
        *(f"T{k}" for k in range(1, 69)),
        *(f"R{k}" for k in range(1, 24)),
        *(f"H{k}" for k in range(1, 15)),
    ]


def test_every_number_that_is_cited_is_on_the_page():
    known = set(re.findall(r"^\| ([TRH]\d+) \|", read("docs/hazards.md"), re.MULTILINE))
    places = [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
        *map(ROOT.joinpath, DOCS),
    ]
    cited = {place: set(NUMBER.findall(place.read_text("utf-8"))) for place in places}

    assert any(cited.values())
    assert not {str(place): odd for place, one in cited.items() if (odd := one - known)}


def test_modules_that_cite_a_number_say_where_it_is_explained():
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "src").rglob("*.py")
        if NUMBER.search(text := path.read_text("utf-8")) and "docs/hazards.md" not in text
    ]

    assert not silent


@pytest.mark.parametrize("page", DOCS)
def test_tests_that_the_pages_name_exist(page):
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", read(page))
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^def {name}\(", read(file), re.MULTILINE)
    ]

    assert not missing


@pytest.mark.parametrize("page", [page for page in DOCS if page != "docs/log.md"])
def test_files_that_the_pages_name_exist(page):
    """But in the log, which tells what was where on its day."""
    named = re.findall(
        r"(?<![\w/.])(?:src|tests|docs|benchmarks)/[\w./{}<>*-]+", read(page)
    )
    exact = {path.rstrip(".") for path in named if not set(path) & set("{}<>*")}

    assert not {
        path for path in exact if TO_WRITE not in path and not (ROOT / path).exists()
    }


@pytest.mark.parametrize("page", [page for page in DOCS if page != "docs/log.md"])
def test_modules_and_names_that_the_pages_mention_exist(page):
    named = set(re.findall(r"(?<![\w/.-])seatrial(?:\.[A-Za-z_]\w*)+", read(page)))
    missing = set()
    for name in named:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            missing.add(name)

    assert not missing


def test_every_issue_that_hazards_are_left_to_is_listed():
    text, _, last = read("docs/hazards.md").partition("\n## Open issues\n")
    titles = set(re.findall(r"^- \*([^*]+)\*: ", last, re.MULTILINE))
    named = set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", text))

    assert named
    assert named == titles


def test_every_public_class_is_in_the_glossary():
    import seatrial

    words = set(re.findall(r"\*\*(.+?)\*\*", read("docs/glossary.md")))
    classes = {
        name for name in seatrial.__all__ if isinstance(getattr(seatrial, name), type)
    }

    # Methods are described by `seatrial list methods`; the verbs of a noun need no line.
    methods = {kind.__name__ for kind in seatrial.METHODS.values()}
    assert classes - methods - words == set()


def test_no_word_of_the_glossary_stands_twice():
    words = re.findall(r"^\| \*\*(.+?)\*\*", read("docs/glossary.md"), re.MULTILINE)

    assert len(words) > 80
    assert len(words) == len(set(words))


def drawn(text):
    """The files of a tree in a block of text: paths by indentation."""
    folders, paths = [], set()
    for line in text.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name.rstrip("/")]
        assert name.endswith("/") or len(line.split()) > 1, f"nothing is said of {line}"
        if not name.endswith("/"):
            paths.add("/".join(folders))
    return paths


def test_the_tree_of_the_architecture_is_the_real_one():
    """Each package's own ``__init__`` is told of in the line of its folder."""
    text = re.search(r"```\n(seatrial/\n.*?)```", read("docs/architecture.md"), re.DOTALL)
    assert text
    root = ROOT / "src" / "seatrial"
    files = {
        path.relative_to(root.parent).as_posix()
        for path in root.rglob("*.py")
        if path.name != "__init__.py" or path.parent == root
    }

    assert drawn(text[1]) == files


def test_the_walk_of_one_dose_leads_through_files_and_names_that_exist():
    steps = re.findall(
        r"^\| `(.+?)` \| `(.+?)` \|", read("docs/architecture.md"), re.MULTILINE
    )

    assert len(steps) > 15
    for file, name in steps:
        text = read(f"src/seatrial/{file}")
        assert re.search(rf"^(def|class) {name}\b", text, re.MULTILINE), (file, name)


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", read(page), flags=re.DOTALL | re.MULTILINE)


def test_links_between_pages_lead_somewhere():
    broken = [
        (page, link)
        for page in DOCS
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", prose(page))
        if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()
    ]

    assert not broken


def test_the_tree_of_the_readme_is_the_real_one():
    text = re.search(r"```\nsrc/seatrial/ .*?```", read("README.md"), re.DOTALL)
    assert text
    root = ROOT / "src" / "seatrial"
    rooms = {
        path.stem
        for path in root.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    names = re.findall(r"^  ([\w/, ]+?)   *\S", text[0], re.MULTILINE)

    assert {name.strip(" /") for line in names for name in line.split(",")} == rooms - {
        "__init__"
    }
