"""Known answerers of maps get what they deserve, and prompts hold what they should."""

import json
import math
import re
from collections import Counter
from dataclasses import replace

import pytest

from seatrial.data import MAPS, MapData, MapPair, check_disjoint, load_map
from seatrial.data.catalogue import PUBLISHED_MAPS
from seatrial.data.maps import merge_inputs
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.methods.fitting.contrast import contrast
from seatrial.steering.intervention import UNSTEERED
from seatrial.tasks.map import REPEAT, WORDED, Map
from seatrial.tasks.measure import measure
from seatrial.testing import naive_logits
from seatrial.types import Answer, Message, Site

VOCABULARY = 50
LIKELY, UNLIKELY, GUESS = -0.25, -6.0, -math.log(VOCABULARY)
TEMPLATES = ("bare", "qa", "arrow", *WORDED)


def says(choose):
    """An answerer whose greedy text is ``choose(request)``; its tokens are words."""

    def answer(request):
        said = choose(request).split()
        lines = [text.split() for text in request.answers]
        top = [
            tuple(said[: k + 1] == line[: k + 1] for k in range(len(line)))
            for line in lines
        ]
        probs = [tuple(LIKELY if right else UNLIKELY for right in line) for line in top]
        return Answer(tuple(probs), None, tuple(top))

    return answer


def useless(request):
    """Every token is as likely as any other, and none of a right answer is the top."""
    lines = [text.split() for text in request.answers]
    return Answer(
        tuple((GUESS,) * len(line) for line in lines),
        None,
        tuple((False,) * len(line) for line in lines),
    )


def means(task, answerer, split="test"):
    requests = task.requests(split)
    scores = task.score(requests, [answerer(request) for request in requests])
    assert [(s.item, s.group) for s in scores] == [(r.id, r.group) for r in requests]
    return {
        key: sum(score.metrics[key] for score in scores) / len(scores)
        for key in ("accuracy", "whole", "log_prob", "first_prob")
    }


@pytest.fixture(scope="module")
def capitals():
    return Map.of("country-capital", seed=0, limit=25)


@pytest.fixture(scope="module")
def every():
    """Every map that ships, as a task."""
    return {name: Map.of(name, seed=0, limit=30) for name in MAPS}


def text_of(prompt):
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message.content for message in prompt)


def shown_in(prompt):
    """The demonstrations of a prompt of the template ``arrow``, and its query."""
    *lines, last = prompt.split("\n")
    pairs = [line.removeprefix("example:").split("->") for line in lines]
    return [tuple(pair) for pair in pairs], last.removeprefix("example:")[:-2]


# Answerers.


@pytest.mark.parametrize("name", MAPS)
def test_who_knows_every_answer_is_always_right_whichever_answer_it_gives(name, every):
    for place in (0, -1):
        found = means(every[name], says(lambda request, k=place: request.answers[k]))
        assert (found["accuracy"], found["whole"]) == (1.0, 1.0)


def test_the_usual_answer_is_the_one_whose_probability_is_kept(capitals):
    found = means(capitals, says(lambda request: request.answers[0]))
    words = [len(item.output.split()) for item in capitals.splits["test"]]

    assert found["log_prob"] == pytest.approx(LIKELY * sum(words) / len(words))
    assert found["first_prob"] == pytest.approx(math.exp(LIKELY))


@pytest.mark.parametrize("name", MAPS)
def test_who_guesses_is_never_right_and_as_sure_as_a_guess(name, every):
    found = means(every[name], useless)

    assert (found["accuracy"], found["whole"]) == (0.0, 0.0)
    assert found["first_prob"] == pytest.approx(1 / VOCABULARY)
    assert found["log_prob"] <= GUESS + 1e-12


@pytest.mark.parametrize("name", MAPS)
def test_who_says_anything_but_the_answer_is_worse_than_a_guess(name, every):
    found = means(every[name], says(lambda _: " nonsense"))
    guessed = means(every[name], useless)

    assert (found["accuracy"], found["whole"]) == (0.0, 0.0)
    assert found["log_prob"] < guessed["log_prob"]
    assert found["first_prob"] < guessed["first_prob"]


@pytest.mark.parametrize("name", MAPS)
def test_who_repeats_the_input_is_not_right(name, every):
    task = every[name]
    inputs = {item.id: item.input for item in task.splits["test"]}
    # "Sao Tome and Principe" begins with its capital.
    share = sum(
        item.input.split()[: len(answer.split())] == answer.split()
        for item in task.splits["test"]
        for answer in item.answers
    ) / len(inputs)

    found = means(task, says(lambda request: inputs[request.id]))

    assert found["whole"] == pytest.approx(share)
    assert share <= 2 / len(inputs)


@pytest.mark.parametrize("word", ["Europe", "Asia", "Africa", "South America"])
def test_who_always_says_one_word_is_right_as_often_as_it_is_the_answer(word, every):
    task = every["country-continent"]
    share = sum(word in p.answers for p in task.splits["test"]) / len(task.splits["test"])

    found = means(task, says(lambda _: word))

    assert found["whole"] == pytest.approx(share)
    assert 0 < share < 0.4


def test_a_right_beginning_counts_for_the_first_token_only():
    """The trap of first-token accuracy, T35: "New York" is not "New Delhi"."""
    task = Map.of("country-capital", seed=0)
    two_words = [item for item in task.splits["test"] if " " in item.output]
    task = replace(task, splits={**task.splits, "test": two_words})

    found = means(task, says(lambda request: request.answers[0].split()[0] + " Nowhere"))

    assert len(two_words) > 3
    assert (found["accuracy"], found["whole"]) == (1.0, 0.0)


def test_tokens_of_two_right_answers_do_not_add_up_to_one():
    request = Map(TOY, TOY_SPLITS).requests("test")[0]
    task = Map(TOY, TOY_SPLITS)

    [score] = task.score(
        [request], [Answer(((-1.0, -2.0),) * 2, None, ((True, False), (False, True)))]
    )

    assert (score.metrics["accuracy"], score.metrics["whole"]) == (1.0, 0.0)
    assert score.metrics["log_prob"] == -3.0
    assert score.metrics["first_prob"] == pytest.approx(math.exp(-1.0))


def test_what_a_readout_makes_of_log_probabilities_is_no_probability():
    """Scores far above 0 overflow as probabilities, and would mean nothing."""
    task = Map(TOY, TOY_SPLITS)
    request = task.requests("test")[0]

    [score] = task.score(
        [request], [Answer(((800.0, -2.0),) * 2, None, ((True, False), (False, True)))]
    )

    assert "first_prob" not in score.metrics
    assert score.metrics["log_prob"] == 798.0


def test_fewer_answers_than_requests_are_not_scored_silently(capitals):
    with pytest.raises(ValueError, match="shorter"):
        capitals.score(capitals.requests("test"), [])


# What is asked.

TOY = MapData(
    "toy",
    "a word to its opposite",
    tuple(
        MapPair(f"toy/{a}", a, a, b, ("other one",) if a == "up" else ())
        for a, b in [("up", "down"), ("in", "out"), ("hot", "cold"), ("big", "small")]
    ),
)
TOY_SPLITS = {"test": TOY.pairs[:1], "select": TOY.pairs[1:2], "fit": TOY.pairs[2:]}


def test_every_right_answer_is_an_answer_of_the_request():
    [request] = Map(TOY, TOY_SPLITS).requests("test")

    assert request.prompt == "Q: up\nA:"
    assert request.answers == (" down", " other one")
    assert (request.id, request.group) == ("toy/up", "up")


def test_shots_and_labels_ask_this():
    right = Map(TOY, TOY_SPLITS, shots=2)
    moved = replace(right, labels="shuffled")

    [asked], [lured] = right.requests("test"), moved.requests("test")

    def parts(request):
        *shown, query = request.prompt.split("\n\n")
        return sorted(shown), query

    # Two labels can be moved in one way only.
    assert parts(asked) == (["Q: big\nA: small", "Q: hot\nA: cold"], "Q: up\nA:")
    assert parts(lured) == (["Q: big\nA: cold", "Q: hot\nA: small"], "Q: up\nA:")
    assert asked.answers == lured.answers


@pytest.mark.parametrize("name", MAPS)
def test_demonstrations_are_of_the_fit_split_and_never_name_the_query(name, every):
    task = replace(every[name], template="arrow", shots=8)
    asked = ["test", "select", *(["fit"] if name in ("antonym", "next-item") else [])]
    fit = {(item.input, item.output): item.group for item in task.splits["fit"]}

    for split in asked:
        for request, item in zip(task.requests(split), task.splits[split], strict=True):
            shown, query = shown_in(request.prompt)
            assert query == item.input
            assert len(set(shown)) == 8 and set(shown) <= set(fit)
            assert item.input not in {text for pair in shown for text in pair}
            assert item.group not in {fit[pair] for pair in shown}


@pytest.mark.parametrize("name", MAPS)
def test_no_shuffled_label_stands_at_its_own_input(name, every):
    right = replace(every[name], template="arrow", shots=10)
    moved = replace(right, labels="shuffled")

    for one, other in zip(right.requests("test"), moved.requests("test"), strict=True):
        (shown, query), (lured, same) = shown_in(one.prompt), shown_in(other.prompt)
        assert query == same and [a for a, _ in shown] == [a for a, _ in lured]
        labels = Counter(y for _, y in shown)
        assert Counter(y for _, y in lured) == labels
        kept = sum(a == b for a, b in zip(shown, lured, strict=True))
        # Only an output that is shown more often than all others together can stay.
        assert kept == max(0, 2 * max(labels.values()) - 10)


@pytest.mark.parametrize("template", ["qa", "chat"])
def test_the_prompt_of_an_item_does_not_depend_on_what_else_is_asked(template):
    conditions = {
        "template": template, "shots": 4, "labels": "shuffled", "context_words": 60,
        "facts_between": 2,
    }  # fmt: skip
    whole = replace(Map.of("country-capital", seed=3, limit=40), **conditions)
    some = replace(Map.of("country-capital", seed=3, limit=7), **conditions)
    turned = replace(whole, splits={**whole.splits, "test": whole.splits["test"][::-1]})
    prompts = {request.id: request.prompt for request in whole.requests("test")}

    for task, n in ((some, 7), (turned, len(prompts))):
        asked = {request.id: request.prompt for request in task.requests("test")}
        assert len(asked) == n
        shared = asked.keys() & prompts.keys()
        assert shared and all(asked[item] == prompts[item] for item in shared)


def test_items_have_demonstrations_of_their_own(capitals):
    requests = replace(capitals, template="arrow", shots=5).requests("test")

    shown = {tuple(shown_in(request.prompt)[0]) for request in requests}

    assert len(shown) > 0.9 * len(requests)


def test_fewer_shots_are_the_first_of_more(capitals):
    few, many = (
        replace(capitals, template="arrow", shots=n).requests("test") for n in (2, 9)
    )

    for one, other in zip(few, many, strict=True):
        assert shown_in(one.prompt)[0] == shown_in(other.prompt)[0][:2]


def test_a_limit_is_a_seeded_sample_of_the_test_items():
    """The trap of the first N, T41."""
    whole = {seed: Map.of("country-capital", seed=seed) for seed in range(3)}
    limited = {seed: Map.of("country-capital", seed=seed, limit=10) for seed in range(3)}

    for seed, task in limited.items():
        found = [item.id for item in task.splits["test"]]
        everything = [item.id for item in whole[seed].splits["test"]]
        assert len(found) == 10 and set(found) < set(everything)
        assert found != everything[:10]
        assert task.splits["fit"] == whole[seed].splits["fit"]
        assert task == Map.of("country-capital", seed=seed, limit=10)
    assert len({task.splits["test"] for task in limited.values()}) == 3


@pytest.mark.parametrize("name", MAPS)
def test_splits_share_no_group_and_no_content_and_leave_nothing_out(name):
    task = Map.of(name, seed=1)

    check_disjoint(task.splits)
    items = [item for part in task.splits.values() for item in part]
    assert Counter(items) == Counter(load_map(name).pairs)


# In which words, and among what.


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", MAPS)
def test_every_map_can_be_asked_in_every_template_without_double_spaces(
    name, template, every
):
    item = next(p for p in every[name].splits["test"] if len(p.input) > 2)
    one = {**every[name].splits, "test": (item,)}
    plain = replace(every[name], splits=one, template=template)

    for conditions in (
        {"shots": 1},
        {"shots": 2, "labels": "shuffled", "facts_between": 2, "context_words": 50},
    ):
        [request] = replace(plain, **conditions).requests("test")
        texts = (
            [request.prompt]
            if isinstance(request.prompt, str)
            else [message.content for message in request.prompt]
        )
        for text in texts:
            assert "  " not in text and "{" not in text and text == text.strip()
            assert not re.search(r" [.,;?!]", text)
        assert item.input in texts[-1]
        space = "" if template in ("arrow", "chat") else " "
        assert request.answers == tuple(space + answer for answer in item.answers)


def test_structures_are_written_like_this(capitals):
    item = next(p for p in capitals.data.pairs if p.input == "Peru")
    task = replace(capitals, splits={**capitals.splits, "test": (item,)})

    asked = {
        name: replace(task, template=name).requests("test")[0].prompt for name in TEMPLATES
    }

    clauses = asked.pop("clauses")
    assert asked == {
        "bare": "Peru ->",
        "qa": "Q: Peru\nA:",
        "arrow": "example:Peru->",
        "sentence": "The capital of Peru is",
        "sentence-2": "The capital city of Peru is called",
        "sentence-3": "Travellers who want to see the capital of Peru go to",
        "chat": (
            Message("user", "What is the capital of Peru? Reply with the answer alone."),
        ),
    }
    assert re.fullmatch(r"Nobody .* Peru, but .* capital is", clauses)


def test_a_chat_shows_examples_as_turns(capitals):
    prompt = replace(capitals, template="chat", shots=2).requests("test")[0].prompt
    capital_of = {pair.input: pair.output for pair in capitals.splits["fit"]}

    assert [message.role for message in prompt] == ["user", "assistant"] * 2 + ["user"]
    for question, answer in (prompt[:2], prompt[2:4]):
        [country] = re.findall("What is the capital of (.*)\\?", question.content)
        assert answer.content == capital_of[country]


def test_a_sentence_of_your_own_is_a_template(capitals):
    task = replace(capitals, template="Die Hauptstadt von {x} heißt", shots=1)

    prompt = task.requests("test")[0].prompt
    country = task.splits["test"][0].input

    shown, asked = prompt.split("\n")
    assert re.fullmatch("Die Hauptstadt von .* heißt .*\\.", shown)
    assert asked == f"Die Hauptstadt von {country} heißt"


@pytest.mark.parametrize("template", TEMPLATES)
def test_context_stands_before_everything_and_changes_nothing_else(template, capitals):
    plain = replace(capitals, template=template, shots=2)
    longer = replace(plain, context_words=100)

    for one, other in zip(plain.requests("test"), longer.requests("test"), strict=True):
        before, after = one.prompt, other.prompt
        if template == "chat":
            assert after[:-1] == before[:-1]
            before, after = before[-1].content, after[-1].content
        assert after.endswith(f"\n\n{before}")
        words = len(after.removesuffix(before).split())
        assert abs(words - 100) <= 5
        assert (one.answers, one.id) == (other.answers, other.id)


@pytest.mark.parametrize("template", TEMPLATES)
def test_facts_stand_between_the_input_and_the_answer_and_nowhere_else(template, capitals):
    plain = replace(capitals, template=template, shots=1)
    filled = replace(plain, facts_between=3)

    for item, one, other in zip(
        plain.splits["test"], plain.requests("test"), filled.requests("test"), strict=True
    ):
        before, after = text_of(one.prompt), text_of(other.prompt)
        cut = before.rindex(item.input) + len(item.input)
        assert after.startswith(before[:cut]) and after.endswith(before[cut:])
        facts = after[cut : len(after) - len(before[cut:])].strip(" \n()")
        assert len(re.findall(r"\.(?: |$)", facts)) >= 3


def test_conditions_are_independent_so_that_each_changes_its_own_part(capitals):
    """Adding a context must not draw other demonstrations or facts."""
    base = replace(capitals, shots=3, labels="shuffled", facts_between=2)

    for one, other in zip(
        base.requests("test"), replace(base, context_words=50).requests("test"), strict=True
    ):
        assert other.prompt.endswith(one.prompt)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": -1}, "shots must be 0 or more, not -1"),
        ({"context_words": -5}, "context_words must be 0 or more, not -5"),
        ({"facts_between": -1}, "facts_between must be 0 or more, not -1"),
        (
            {"shots": 1, "labels": "shuffled"},
            "among 1 demonstrations; use at least 2",
        ),
        ({"template": "{x} {z}"}, "cannot be a template"),
    ],
)
def test_options_out_of_range_are_refused(options, message, capitals):
    with pytest.raises(BadOption, match=message):
        replace(capitals, **options)


def test_an_unknown_template_is_refused_with_those_there_are(capitals):
    with pytest.raises(UnknownName, match=r"template 'sentense'.*Did you mean 'sent"):
        replace(capitals, template="sentense")


def test_a_map_without_words_of_its_own_says_what_to_do():
    with pytest.raises(BadOption, match="'toy' has no template 'clauses'; use one of"):
        Map(TOY, TOY_SPLITS, template="clauses")


def test_more_shots_than_fit_items_are_refused_before_anything_is_asked():
    with pytest.raises(BadData, match="3 demonstrations need as many examples besides the"):
        Map(TOY, TOY_SPLITS, shots=3).requests("test")


# Where items come from.


def test_your_own_files_are_maps(tmp_path):
    rows = [{"input": f"w{k}", "output": f"v{k % 4}", "group": f"g{k}"} for k in range(20)]
    lines = tmp_path / "own.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    table = tmp_path / "mine.toml"
    table.write_text(
        'kind = "maps"\nsource = "own.jsonl"\n'
        '[columns]\ninput = "input"\noutput = "output"\ngroup = "group"\n'
    )

    for path, name in ((lines, "own"), (table, "mine")):
        task = Map.of(str(path), seed=0, limit=5)
        assert (task.data.name, len(task.data.pairs)) == (name, 20)
        assert len(task.requests("test")) == 5


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": "good", "b": "bad"}\n{"a": "x", "b": "y"}')
    path = tmp_path / "pairs.toml"
    path.write_text(
        'kind = "pairs"\nsource = "rows.jsonl"\n[columns]\npositive = "a"\nnegative = "b"\n'
    )

    with pytest.raises(BadData, match=r"pairs.toml holds records of the kind TextPair"):
        Map.of(str(path), seed=0)


def test_a_map_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match=r"Did you mean 'country-capital'\?"):
        Map.of("country-capitals", seed=0)


def test_an_input_that_is_listed_twice_is_asked_once_with_both_answers():
    pairs = (
        MapPair("m/0", "g", "big", "small"),
        MapPair("m/1", "h", "hot", "cold"),
        MapPair("m/2", "g", "big", "little"),
        MapPair("m/3", "g", "big", "small"),
    )

    assert merge_inputs(pairs, "m") == (
        MapPair("m/0", "g", "big", "small", ("little",)),
        MapPair("m/1", "h", "hot", "cold"),
    )


def test_an_input_in_two_groups_is_refused():
    pairs = (MapPair("m/0", "g", "big", "small"), MapPair("m/1", "h", "big", "little"))

    with pytest.raises(BadData, match="m: the input 'big' stands in two groups, g and h"):
        merge_inputs(pairs, "m")


def test_one_output_for_all_is_refused():
    pairs = (MapPair("m/0", "g", "big", "no"), MapPair("m/1", "h", "hot", "no"))

    with pytest.raises(BadData, match="m is one-sided: the output is the same for all 2"):
        merge_inputs(pairs, "m")


@pytest.mark.parametrize("name", ["maps/antonym", "maps/national_parks", "maps/capitalize"])
def test_published_maps_are_asked_like_ours(name, published):
    task = Map.of(name, seed=0, limit=20)

    inputs = [pair.input for pair in task.data.pairs]
    assert len(set(inputs)) == len(inputs) > 400
    check_disjoint(task.splits)
    asked = replace(task, shots=10, labels="shuffled", facts_between=2).requests("test")
    assert len(asked) == 20


def test_all_published_maps_can_be_named():
    assert set(Map.sources) == {*MAPS, *PUBLISHED_MAPS}
    assert {"maps/antonym", "extractive/animal_v_object_3"} <= set(PUBLISHED_MAPS)


# What methods are fitted on.


@pytest.mark.parametrize("template", ["qa", "chat", "sentence"])
def test_pairs_to_fit_on_differ_in_the_labels_that_are_shown_and_in_nothing_else(
    template, capitals
):
    data = capitals.fit_data(shots=4, template=template)

    assert len(data.pairs) == len(capitals.splits["fit"]) == len(data.examples)
    for pair, item in zip(data.pairs, capitals.splits["fit"], strict=True):
        assert (pair.id, pair.group) == (item.id, item.group)
        assert pair.positive.completion == pair.negative.completion
        assert pair.positive.completion.strip() == item.output
        right, moved = (text_of(text.prompt) for text in (pair.positive, pair.negative))
        assert right != moved
        assert Counter(re.findall(r"\w+", right)) == Counter(re.findall(r"\w+", moved))
        assert item.output not in right or item.output in item.input


def test_fit_data_is_the_fit_split_and_nothing_else(capitals):
    distracted = replace(capitals, shots=3, context_words=100, facts_between=2)

    data = capitals.fit_data()

    assert {e.input for e in data.examples} == {p.input for p in capitals.splits["fit"]}
    held_out = [*capitals.splits["select"], *capitals.splits["test"]]
    everything = repr(data.pairs)
    assert not [p for p in held_out if f"Q: {p.input}\\n" in everything]
    assert data.encourage == "You answer every country with its capital."
    assert data.discourage == REPEAT
    assert distracted.fit_data() == data


def test_the_fingerprint_follows_what_a_method_sees(capitals):
    fewer = replace(
        capitals, splits={**capitals.splits, "fit": capitals.splits["fit"][:-1]}
    )
    found = [
        task.fit_data(**options).fingerprint
        for task in (capitals, fewer)
        for options in ({}, {"shots": 5}, {"shots": 0}, {"template": "arrow"}, {"limit": 9})
    ]

    assert len(set(found)) == len(found)
    assert capitals.fit_data().fingerprint == found[0]
    assert len(capitals.fit_data(limit=9).pairs) == 9


def test_without_shots_the_negative_ends_with_the_answer_of_another_item(every):
    task = every["country-continent"]

    data = task.fit_data(shots=0)

    right = {item.id: item.answers for item in task.splits["fit"]}
    assert len(data.pairs) > 0.95 * len(right)
    for pair in data.pairs:
        assert pair.positive.prompt == pair.negative.prompt
        assert pair.positive.completion.strip() in right[pair.id]
        assert pair.negative.completion.strip() not in right[pair.id]
    # The same answers on both sides, so that their difference is not that of two words.
    sides = [Counter(getattr(p, s).completion for p in data.pairs)
             for s in ("positive", "negative")]  # fmt: skip
    assert (sides[0] - sides[1]).total() <= len(right) - len(data.pairs)


@pytest.mark.parametrize("shots", [1, -2])
def test_one_label_cannot_be_moved_for_fitting(shots, capitals):
    with pytest.raises(BadOption, match=f"must be 0 or at least 2, not {shots}: one label"):
        capitals.fit_data(shots=shots)


def test_your_own_map_has_pairs_and_no_instruction():
    data = Map(TOY, TOY_SPLITS).fit_data(shots=0)

    assert (data.concept, data.encourage, data.discourage) == ("toy", "", "")
    assert len(data.pairs) == len(data.examples) == 2


# On a model.


def test_on_a_model_accuracy_is_what_its_own_logits_say(tiny):
    """Half of the outputs are planted: they are what the model would say."""
    model = tiny("llama", seed=1)
    encoder = model.encoder
    pairs, expected = [], {}
    for k in range(120):
        prompt = f"example:w{k}->"
        ids = encoder.prompt_ids(prompt)
        top = int(naive_logits(model, ids, len(ids), UNSTEERED)[-1].argmax())
        said = encoder.decode([top])
        # Not every token is a text that is cut into this token again.
        if not said.strip() or said.strip() != said or "\ufffd" in said or said == f"w{k}":
            continue
        [whole] = encoder.encode(prompt, (said,))
        if whole.ids == (*ids, top):
            is_right = len(pairs) % 2 == 0
            output = said if is_right else ("#" if said[0] != "#" else "%")
            pairs.append(MapPair(f"m/w{k}", f"w{k}", f"w{k}", output))
            expected[f"m/w{k}"] = float(is_right)
    task = Map(MapData("m", "m", tuple(pairs)), {"test": pairs}, template="arrow")

    [scores] = measure(model, task)

    assert len(pairs) > 8
    assert {s.item: s.metrics["accuracy"] for s in scores} == expected
    assert {s.item: s.metrics["whole"] for s in scores} == expected
    for score in scores:
        assert score.metrics["first_prob"] == pytest.approx(
            math.exp(score.metrics["log_prob"])
        )


def test_pairs_can_be_read_by_methods(tiny, capitals):
    model = tiny("llama")
    data = capitals.fit_data(shots=2, template="arrow", limit=4)

    positive, negative = contrast(model, data.pairs, Site(1), "last_prompt")

    assert positive.shape == negative.shape == (4, 32)
    assert (positive - negative).abs().sum(1).min() > 1e-3
