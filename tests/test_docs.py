"""The documentation is executed: every python block of the README and the docs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    if "```python" in page.read_text("utf-8")
)


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    if "Model.load(" in text:
        from seatrial.model.load.pull import cache_folder

        if not any(cache_folder().glob("smollm2-135m-*/seatrial.json")):
            pytest.skip("needs smollm2-135m; fetch it with `seatrial pull smollm2-135m`")
    monkeypatch.chdir(tmp_path)

    exec(compile("\n".join(blocks), page, "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_commands_in_the_docs_exist(page):
    from seatrial.cli import COMMANDS

    text = (ROOT / page).read_text("utf-8")
    shown = set(re.findall(r"^seatrial (\w+)", text, re.MULTILINE))
    shown |= set(re.findall(r"`seatrial (\w+)", text))

    assert shown
    assert shown <= {*COMMANDS, "fit"}
