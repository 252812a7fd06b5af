"""The page fetches nothing, runs only its own scripts, and shows text as text."""

import hashlib
import json
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser

import pytest


class Page(HTMLParser):
    """A page as a browser's parser sees it: tags with attributes, texts, scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.scripts = [], [], []
        self._inside = ""
        self.feed(html)
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text.append(data)

    def figures(self):
        return json.loads(self.scripts[0])

    def having(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def seen(made):
    return Page(made.html)


@pytest.fixture(scope="module")
def hostile(summary):
    texts = [effect.text for trial in summary.trials for effect in trial.effects]
    return next(text for text in texts if "alert" in text)


def test_no_script_runs_but_plotly_and_ours(seen):
    kinds = [attrs.get("type") for attrs in seen.having("script")]

    assert kinds == ["application/json", None, None]
    assert "plotly.js" in seen.scripts[1][:40] and "IntersectionObserver" in seen.scripts[2]


def test_the_policy_names_exactly_the_scripts_of_the_page(seen):
    policy = next(a["content"] for a in seen.having("meta") if "http-equiv" in a)
    hashes = [
        f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in seen.scripts[1:]
    ]

    assert policy.startswith("default-src 'none'; ")
    assert f"script-src {' '.join(hashes)};" in policy


def test_nothing_is_fetched_and_nothing_reacts_to_events(seen):
    fetched = ("src", "srcset", "data", "poster", "action", "background", "xlink:href")
    for tag, attrs in seen.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not [key for key in attrs if key.startswith("on") or key in fetched]
        assert attrs.get("href", "#").startswith("#")


def test_links_inside_the_page_lead_somewhere(seen):
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]

    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in seen.having("a")} <= set(ids)


def test_a_hostile_text_is_shown_as_it_is(seen, hostile):
    assert " ".join(hostile.split()) in seen.words


def test_a_hostile_name_is_shown_as_it_is(summary, hostile):
    from seatrial.analysis.records import ClaimResult
    from seatrial.report import render

    first, second = (
        replace(trial, behaviour=hostile, unit=hostile, target="open", model=model,
                label=hostile, settings={hostile: hostile}, about={"about": hostile})
        for trial, model in zip(summary.trials[:2], (hostile, "m"), strict=True)
    )  # fmt: skip
    units = tuple(
        replace(unit, model=hostile, header={**unit.header, hostile: hostile})
        for unit in summary.units
    )
    failed = ({"model": hostile, "behaviour": hostile, "reason": hostile, "run": hostile},)
    claim = ClaimResult(hostile, hostile, False, hostile, 0.5, 0.5)
    named = replace(
        summary,
        trials=(first, second),
        units=units,
        studies=({**summary.studies[0], "name": hostile, "run": hostile},),
        failed=failed,
        claims=(claim,),
        not_applicable=({"what": hostile, "reason": hostile},),
    )

    seen = Page(render(named).html)

    assert len(seen.scripts) == 3 and not seen.having("img")
    assert seen.words.count("<script>alert(1)</script>") > 12
    for figure in seen.figures().values():
        assert "<script" not in json.dumps(figure) and "<img" not in json.dumps(figure)


def test_embedded_figures_hold_nothing_that_could_end_their_element(seen):
    assert not set("<>&\u2028\u2029") & set(seen.scripts[0])


def test_hover_texts_are_escaped_for_plotly(seen):
    texts = [
        text
        for figure in seen.figures().values()
        for trace in figure["data"]
        for text in trace.get("hovertext", [])
        if "alert" in text
    ]

    assert texts
    assert all("<script" not in text and "&lt;script" in text for text in texts)


def test_every_figure_of_the_page_has_its_place(seen, summary):
    places = [attrs["id"] for attrs in seen.having("div") if attrs.get("class") == "plot"]

    assert sorted(places) == sorted(seen.figures())
    assert len(places) == 1 + 5 * len(summary.trials)


def test_every_verdict_chip_carries_its_explanation(seen):
    from seatrial.analysis.verdict import LABELS

    chips = [a for a in seen.having("span") if "chip" in a.get("class", "").split()]

    assert {chip["title"] for chip in chips} == set(LABELS.values())
    assert all(meaning in seen.words for meaning in LABELS.values())


def test_the_reasons_and_the_worst_items_come_before_the_curves(made):
    body = made.html[made.html.index('<section class="trial"') :]

    assert (
        body.index("mean slope ")
        < body.index("moved the wrong way")
        < body.index("The items that moved most")
        < body.index("Dose-response")
    )


def test_what_was_run_is_on_the_page(seen, summary):
    own = summary.studies[0]["id"]
    for value in (own, "9d1c0ffee012", "float32", "replays the blocks", "threads 2"):
        assert value in seen.words
    assert '"budget": 1.1' in seen.words
    assert "smollm2-135m, seed 0, power-seeking" in seen.words
    assert "103 stored of 103 planned" in seen.words


def test_trials_of_several_runs_have_places_of_their_own(summary):
    """Names that differ only in signs that an id cannot hold do not collide."""
    from seatrial.report import render

    first = summary.trials[0]
    alike = [
        first,
        replace(first, run="another"),
        replace(first, model="a/b"),
        replace(first, model="a-b"),
        replace(first, behaviour="positive sentiment"),
        replace(first, behaviour="positive", target="sentiment-open"),
        replace(first, behaviour="positive-sentiment", target="open", label="c a a"),
    ]
    named = first.labels.targets[0]
    labels = replace(
        first.labels,
        targets=(*first.labels.targets, replace(named, name="sentiment-open")),
    )
    trials = tuple(replace(trial, labels=labels) for trial in alike)

    seen = Page(render(replace(summary, trials=trials)).html)

    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in seen.having("a")} <= set(ids)
    assert len(seen.figures()) == 1 + 5 * len(trials)


def test_only_figures_that_there_are_numbers_for_have_a_place(summary):
    from seatrial.report import render

    bare = replace(
        summary.trials[0], prices=(), price=None, control_prices={}, candidates=(),
        band=None, controls=(), control_verdicts={},
    )  # fmt: skip

    seen = Page(render(replace(summary, trials=(bare,))).html)

    assert len(seen.figures()) == 3
    assert "None were measured." in seen.words
