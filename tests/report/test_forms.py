"""The tables, the sentences and the files: complete, exact, and the same each time."""

import io
import json
import re
from dataclasses import replace

import pytest

INTERVAL = re.compile(r"-?[\d.]+(e-\d+)?%? \[-?[\d.]+(e-\d+)?%?, -?[\d.]+(e-\d+)?%?\]")
BAND = re.compile(r"\[-?[\d.]+(e-\d+)?, -?[\d.]+(e-\d+)?\]")


def relabel(trial, label):
    from seatrial.analysis.verdict import Verdict

    return replace(trial, verdict=Verdict(label, ("because",)))


def printed(summary, width):
    from rich.console import Console

    from seatrial.report import verdict_table

    console = Console(width=width, color_system=None, file=io.StringIO())
    console.print(verdict_table(summary, width))
    return console.file.getvalue()


def test_equal_summaries_give_equal_bytes(summary, made):
    from seatrial.report import render

    again = render(replace(summary))

    assert (again.html, again.markdown, again.json) == (made.html, made.markdown, made.json)


def test_results_can_be_read_back(summary, made):
    from seatrial.report.results import results

    read = json.loads(made.json)

    assert read == results(summary)
    slope = summary.trials[0].response.steerability
    assert read["trials"][0]["response"]["steerability"] == {
        "value": pytest.approx(slope.value, rel=1e-5),
        "low": pytest.approx(slope.low, rel=1e-5),
        "high": pytest.approx(slope.high, rel=1e-5),
        "n": slope.n,
    }


def test_results_do_not_depend_on_the_machine(summary):
    from seatrial.report.results import results

    path = "/home/me/models/tiny"
    study = {**summary.studies[0], "completed": {"models": {"m": {"name": path}}}}
    header = {"model": "C:\\models\\tiny", "started": "2026-11-21T18:00"}
    units = tuple(replace(unit, model=path, header=header) for unit in summary.units)
    trials = tuple(replace(trial, model=path) for trial in summary.trials)
    failed = ({"model": path, "behaviour": "c", "reason": "lost"},)
    here = replace(summary, studies=(study,), units=units, trials=trials, failed=failed)

    text = json.dumps(results(here))

    assert "/home/me" not in text and "C:" not in text and "18:00" not in text
    assert '"model": "tiny"' in text


def test_results_have_no_number_where_there_is_none(summary):
    from seatrial.report.results import results_text

    first = summary.trials[0]
    broken = replace(first, base=replace(first.base, high=float("inf")))

    read = json.loads(results_text(replace(summary, trials=(broken,))))

    assert read["trials"][0]["base"]["high"] is None


def test_every_number_of_the_verdict_table_has_an_interval(summary):
    from seatrial.report.table import verdict_rows

    for row in verdict_rows(summary):
        for cell in (row.slope, row.anti_steerable, *row.baselines, row.price):
            assert INTERVAL.fullmatch(cell), cell
        assert BAND.fullmatch(row.band), row.band


def test_every_number_of_a_trial_has_an_interval(summary):
    from seatrial.report.table import control_lines, dose_lines, numbers, price_lines

    for trial in summary.trials:
        for line in (*numbers(trial), *control_lines(trial)):
            assert INTERVAL.fullmatch(line.text), line
        for line in dose_lines(trial):
            assert BAND.fullmatch(line.band)
            assert all(
                map(INTERVAL.fullmatch, (line.change, line.perplexity_ratio, line.kl))
            )
        for line in price_lines(trial):
            assert all(map(INTERVAL.fullmatch, (line.perplexity_ratio, line.kl)))


def test_what_was_not_measured_is_said_so(summary):
    from seatrial.report.table import verdict_rows

    bare = replace(summary.trials[0], baselines={}, price=None, band=None)

    row = verdict_rows(replace(summary, trials=(bare,)))[0]

    assert (row.baselines, row.price) == (("not measured",), "not measured")
    assert row.band == "not measured"


def test_several_baselines_are_told_by_name(summary):
    from seatrial.report.table import baseline_title, verdict_rows

    first = summary.trials[0]
    [effect] = first.baselines.values()
    several = replace(first, baselines={"instruction": effect, "few-shot": effect})
    both = replace(summary, trials=(several, summary.trials[1]))

    assert baseline_title(summary) == "instruction effect"
    assert baseline_title(both) == "baselines"
    row = verdict_rows(both)[0]
    assert row.baselines == (f"instruction {effect}", f"few-shot {effect}")


def test_runs_and_models_are_named_where_there_are_several(summary):
    from seatrial.report import render
    from seatrial.report.words import where

    first = summary.trials[0]
    other = replace(first, model="/home/me/gemma")
    both = replace(summary, trials=(first, other))

    assert where(first, summary) == ""
    assert where(other, both) == "gemma"
    second = replace(other, run="b")
    assert where(second, replace(both, trials=(first, second))) == "b, gemma"
    made = render(both)
    assert "| gemma | positive-sentiment |" in made.markdown
    assert "<td>gemma</td>" in made.html
    assert "gemma, open" in printed(both, 120)


def test_claims_are_told_with_both_p_values(summary):
    from seatrial.analysis.records import ClaimResult
    from seatrial.report import render

    claims = (
        ClaimResult("quickstart", "caa works", True, "the verdict is: works", 0.001, 0.002),
        ClaimResult("quickstart", "caa is better", False, "it was not tried", None, None),
    )
    made = render(replace(summary, claims=claims))

    rows = [line for line in made.markdown.splitlines() if line.startswith("| caa ")]
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert cells == [
        ["caa is better", "does not hold", "it was not tried", *["not measured"] * 2],
        ["caa works", "holds", "the verdict is: works", "0.001", "0.002"],
    ]
    assert "Of 2 claims 1 holds." in made.markdown
    assert made.html.index("caa is better") < made.html.index("caa works")
    assert json.loads(made.json)["claims"][0] == {
        "run": "quickstart", "text": "caa works", "holds": True, "p": 0.001,
        "adjusted_p": 0.002, "reason": "the verdict is: works", "difference": None,
    }  # fmt: skip


def test_results_name_a_trial_by_its_five_names_and_its_verdict(summary, made):
    [first, *_] = json.loads(made.json)["trials"]
    read = json.loads(made.json)

    assert read["format"] == 2
    assert set(read) == {
        "format", "studies", "units", "trials", "claims", "not_applicable", "failed",
        "audit", "cells",
    }  # fmt: skip
    assert (first["model"], first["behaviour"], first["target"], first["label"]) == (
        "smollm2-135m",
        "positive-sentiment",
        "open",
        "caa",
    )
    assert first["settings"] == {"layer": 15}
    assert first["verdict"]["label"] == summary.trials[0].verdict.label
    assert first["verdict"]["reasons"] == list(summary.trials[0].verdict.reasons)
    for estimate in (first["effect"], first["price"]["perplexity_ratio"]):
        assert set(estimate) == {"value", "low", "high", "n"}


def test_permuting_the_trials_changes_no_row(summary):
    """Trap T42: a variable left over from the trial before."""
    from seatrial.report.results import results
    from seatrial.report.table import verdict_rows

    turned = replace(summary, trials=summary.trials[::-1])

    assert verdict_rows(turned)[::-1] == verdict_rows(summary)
    assert results(turned)["trials"][::-1] == results(summary)["trials"]


def test_the_headline_counts_what_works_and_names_the_surface(summary):
    from seatrial.report.words import headline

    labels = ["works", "unreliable", "works", "no effect", "no effect", "reverses"]
    trials = tuple(map(relabel, summary.trials, labels))

    assert headline(replace(summary, trials=trials)) == (
        "2 of 6 trials of caa work on smollm2-135m: "
        "positive-sentiment on open; interest-in-music on open."
    )


def test_the_headline_names_the_method_that_works(summary):
    from seatrial.report.words import headline

    first = summary.trials[0]
    other = replace(relabel(first, "works"), label="rotation")

    assert headline(replace(summary, trials=(relabel(first, "no effect"), other))) == (
        "1 of 2 trials of caa and rotation works on smollm2-135m: "
        "rotation for positive-sentiment on open."
    )


def test_the_headline_says_when_nothing_works(summary):
    from seatrial.report.words import headline

    trials = tuple(relabel(trial, "no effect") for trial in summary.trials)

    assert headline(replace(summary, trials=trials)) == (
        "None of the 8 trials of caa works on smollm2-135m."
    )


def test_failures_are_counted(summary):
    from seatrial.analysis.verdict import LABELS
    from seatrial.report.words import failures

    trials = tuple(map(relabel, summary.trials, [*LABELS, "no effect"]))

    said = failures(replace(summary, trials=trials))

    assert said.startswith(
        "Of the others, 1 works at a price, 1 is unreliable, 1 is no better than a "
        "control, 2 show no effect, 1 moves the behaviour the wrong way and 1 is not "
        "judged."
    )
    assert "98% [88%, 100%], in power-seeking on propensity (caa)" in said
    assert said.endswith("All 412 planned cells were measured. Of 4 checks 1 warned.")


def test_missing_cells_are_confessed(summary):
    from seatrial.report.words import failures, headline

    first, *others = summary.units
    less = replace(first, cells_stored=91, is_whole=False)
    part = replace(summary, units=(less, *others))
    said = failures(part)

    assert (
        "Of 412 planned cells 400 are stored: the numbers are not the whole study." in said
    )
    assert headline(part).endswith(
        "Not whole: 12 of 412 planned cells are missing, 1 of 4 units unfinished."
    )


def test_failures_are_counted_in_the_headline_and_told_in_words(summary):
    from seatrial.report.words import failed_lines, headline, not_applicable_lines

    unit = {"run": "r", "model": "/models/m", "seed": 3, "behaviour": "c"}
    failed = (
        {**unit, "phase": "test", "label": "", "reason": "no memory", "is_defect": False},
        {**unit, "phase": "test", "label": "caa", "reason": "odd", "is_defect": True},
        {**unit, "label": "caa", "target": "open", "reason": "one group"},
    )
    gaps = ({**unit, "what": "dola on c", "reason": "nothing to read"},) * 2
    broken = replace(summary, failed=failed, not_applicable=gaps)

    assert headline(broken).endswith(" 3 parts failed.")
    assert failed_lines(broken) == [
        "m, seed 3, c: the whole unit failed: no memory",
        "m, seed 3, c: caa failed: odd (a defect of seatrial, please report it)",
        "m, seed 3, c: caa on open failed: one group",
    ]
    assert not_applicable_lines(broken) == ["dola on c: nothing to read"]


def test_surfaces_that_disagree_are_named(summary):
    from seatrial.report.words import surfaces

    first, second, *_ = summary.trials
    both = replace(summary, trials=(relabel(first, "works"), relabel(second, "no effect")))

    assert "disagree: works on open and no effect on propensity" in surfaces(first, both)
    assert "one surface only (open)" in surfaces(first, replace(summary, trials=(first,)))


def test_a_spread_that_is_mostly_a_word_or_an_order_is_named(summary):
    """Trap T36: what looks like unreliable steering is steering towards yes."""
    from seatrial.analysis.confounds import Share
    from seatrial.report.html import page
    from seatrial.report.markdown import markdown
    from seatrial.report.words import not_the_concept
    from seatrial.types import Estimate

    word = Share("whether yes matches", Estimate(0.99, 0.98, 1.0, 15), "higher")
    unclear = replace(word, share=Estimate(0.7, 0.4, 0.9, 15))
    trial = replace(summary.trials[1], spread=(word, unclear))
    said = (
        "How items differ is mostly not the concept but whether yes matches (slopes are "
        "higher where it does): 99% [98%, 100%] of the variance."
    )

    assert not_the_concept(trial) == said
    assert not_the_concept(replace(trial, spread=(unclear,))) == ""
    whole = replace(summary, trials=(trial,))
    assert said in page(whole)
    assert "How items differ is mostly not the concept" in markdown(whole)
    assert "mostly not the concept" not in markdown(summary)


def test_means_over_behaviours_have_behaviours_as_units(summary):
    from seatrial.report.words import across_behaviours

    lines = across_behaviours(summary)

    assert [line.split(":")[0] for line in lines] == [
        "caa on open, over 4 behaviours",
        "caa on propensity, over 4 behaviours",
    ]
    assert all(INTERVAL.search(line) for line in lines)
    alone = across_behaviours(replace(summary, trials=summary.trials[:1]))
    assert alone == [
        "caa on open was tried on one behaviour; nothing is said about others."
    ]


def test_tables_of_markdown_are_whole(made):
    blocks = [b.splitlines() for b in made.markdown.split("\n\n") if b.startswith("|")]
    for block in blocks:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block}
        assert len(cells) == 1, block[0]
        assert set(block[1]) <= set("|- ")
    assert len(blocks) == 1 + 5 * 8 + 1


def test_markdown_shows_hostile_text_literally(made):
    assert "&lt;script&gt;alert(1)" in made.markdown
    for raw in ("<script", "<img", "[click](", "**Grüße**", "{{7*7}}"):
        assert raw not in made.markdown


def test_the_worst_items_are_shown_even_when_the_verdict_is_works(summary):
    from seatrial.report.table import best_items, worst_items

    trial = summary.trials[0]
    worst, best = worst_items(trial), best_items(trial)

    assert trial.verdict.label == "works"
    assert [e.slope for e in worst] == sorted(e.slope for e in trial.effects)[:5]
    assert not {e.item for e in worst} & {e.item for e in best}


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits_and_keeps_numbers_whole(summary, width):
    lines = printed(summary, width).splitlines()

    assert max(map(len, lines)) <= width
    text = " ".join(lines)
    for trial in summary.trials:
        assert trial.verdict.label.split()[0] in text
    assert len(re.findall(r"\[[^\[\]]*\]", text)) == 5 * len(summary.trials)
    assert not any(line.count("[") != line.count("]") for line in lines)


def test_names_in_the_terminal_are_not_markup(summary):
    odd = replace(summary.trials[0], behaviour="[bold]x[/bold]")

    assert "[bold]x[/bold]" in printed(replace(summary, trials=(odd,)), 120)


def test_a_number_has_the_decimals_its_interval_supports():
    from seatrial.types import Estimate

    assert str(Estimate(0.31234, 0.2711, 0.3533, 9)) == "0.312 [0.271, 0.353]"
    assert str(Estimate(-0.00001, -0.4, 0.4, 9)) == "0.00 [-0.40, 0.40]"
    assert str(Estimate(1234.5, 900.0, 1600.0, 9)) == "1234 [900, 1600]"
    assert str(Estimate(2e-6, 1e-6, 3e-6, 9)) == "2.0e-06 [1.0e-06, 3.0e-06]"
    assert str(Estimate(1.0412, 1.0412, 1.0412, 9)) == "1.04 [1.04, 1.04]"
    assert str(Estimate(0.0, 0.0, 0.0, 9)) == "0.00 [0.00, 0.00]"


def test_the_files_are_put_into_a_folder(tmp_path, made):
    from seatrial.report import write

    path = write(made, tmp_path / "run")

    assert path == tmp_path / "run" / "report.html"
    assert path.read_text("utf-8") == made.html
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["report.html", "report.md", "results.json"]


def test_the_noise_floor_stands_beside_the_effects(summary):
    from seatrial.report import render

    check = {"question": "?", "status": "passed", "detail": ""}
    audit = (
        {"id": "H1", "value": None, **check},
        {"id": "H5", "value": 2e-6, **check},
        {"id": "H5", "value": 3.1e-5, **check},
    )
    said = "a token's score differs by up to 3e-05 nats"

    assert said in render(replace(summary, audit=audit)).markdown
    assert "Numerical noise" not in render(replace(summary, audit=audit[:1])).markdown


def test_a_report_shows_itself_in_a_paragraph(made):
    shown = repr(made)

    assert "works on smollm2-135m" in shown or "work on smollm2-135m" in shown
    assert re.search(r"Verdicts: \d+ .*\. In three forms: html of [\d,]{7,} char", shown)
    assert max(len(shown), len(made._repr_html_()), len(repr(made.summary))) < 2000


def test_a_report_in_a_notebook_shows_text_as_text(summary, made):
    trials = tuple(
        replace(trial, model="<script>alert(1)</script>" * 200) for trial in summary.trials
    )
    hostile = replace(made, summary=replace(summary, trials=trials))

    shown = hostile._repr_html_()

    assert "<script" not in shown and "&lt;script" in shown
    assert max(len(shown), len(repr(hostile))) < 4000
