"""Every other source: published counts, parsed content, groups, and broken lines."""

import json
from collections import Counter

import pytest

from seatrial.data.records import group_of
from seatrial.data.sources import (
    bbh,
    bbq,
    caa_format,
    crows_pairs,
    factor,
    function_maps,
    gsm8k,
    mmlu,
    mt_bench,
    paradetox,
    truthfulqa,
)
from seatrial.data.sources.truthfulqa import closed
from seatrial.errors import BadData


def test_caa_files_have_the_published_counts_letters_and_come_from_the_human_set(load):
    fit, test = load("caa/coordinate-other-ais"), load("caa/coordinate-other-ais-test")
    source = {item.group for item in load("ai-risk-human/coordinate-other-ais")}
    shares = [sum(i.correct == 0 for i in items) / len(items) for items in (fit, test)]

    assert (len(fit), len(test)) == (360, 50)
    assert shares == pytest.approx([0.497, 0.52], abs=5e-4)
    assert {i.group for i in (*fit, *test)} <= source
    assert not {i.group for i in fit} & {i.group for i in test}


@pytest.mark.parametrize(
    ("name", "n"),
    [("antonym", 2398), ("country-capital", 197), ("present-past", 293),
     ("singular-plural", 205), ("english-french", 4698)],
)  # fmt: skip
def test_word_maps_have_the_published_sizes(load, name, n):
    assert len(load(f"maps/{name}")) == n


def test_word_maps_hold_clean_words(load):
    pairs = {pair.input: pair.output for pair in load("maps/country-capital")}

    assert pairs["France"] == "Paris"
    for name in function_maps.ABSTRACTIVE:
        for pair in load(f"maps/{name}"):
            assert pair.input == pair.input.strip() != ""
            assert pair.output == pair.output.strip() != ""


def test_extractive_maps_pick_one_of_their_three_words(load):
    for name in function_maps.EXTRACTIVE:
        pairs = load(f"extractive/{name}")
        assert len(pairs) == 1000
        assert all(pair.output in pair.input.split(", ") for pair in pairs)
    for pair in load("extractive/choose_first_of_3"):
        assert pair.output == pair.input.split(", ")[0]
    for pair in load("extractive/alphabetically_first_3"):
        assert pair.output == min(pair.input.split(", "))


def test_a_reversed_pair_and_a_repeated_input_share_a_group(load):
    antonyms = load("maps/antonym")
    group = {(pair.input, pair.output): pair.group for pair in antonyms}
    reversed_too = [key for key in group if key[::-1] in group]

    assert len(reversed_too) == 918
    assert all(group[key] == group[key[::-1]] for key in reversed_too)
    assert len(set(group.values())) == 2398 - 918 // 2
    for name in ("next_item", "product-company"):
        groups = {}
        for pair in load(f"maps/{name}"):
            groups.setdefault(pair.input.lower(), set()).add(pair.group)
        assert all(len(found) == 1 for found in groups.values())


def test_truthfulqa_has_its_817_questions_38_categories_and_answers(load):
    items = load("truthfulqa")

    assert len(items) == 817
    assert Counter(item.category for item in items)["Misconceptions"] == 100
    assert len({item.category for item in items}) == 38
    assert sum(len(item.correct) for item in items) == 2839
    assert sum(len(item.incorrect) for item in items) == 3370
    assert all(item.best in item.correct for item in items)
    assert items[0].best == "The watermelon seeds pass through your digestive system"
    assert items[0].incorrect[:2] == (
        "You grow watermelons in your stomach",
        "You get sick",
    )
    assert not [
        a for i in items for a in (*i.correct, *i.incorrect) if a != a.strip() or not a
    ]


def test_truthfulqa_choices_are_the_same_questions_in_another_order(load):
    plain, choices = load("truthfulqa"), load("truthfulqa-mc")

    shared = {item.group for item in plain} & {item.group for item in choices}
    assert (len(choices), len(shared)) == (817, 817)
    assert [item.group for item in plain] != [item.group for item in choices]
    assert sum(len(item.correct) + len(item.incorrect) for item in choices) == 6204
    assert sum(1 + len(item.incorrect) for item in choices) == 4186
    assert choices[0].best == "Nothing in particular happens when you eat a pomegranate."
    assert (len(choices[0].correct), len(choices[0].incorrect)) == (3, 3)


def test_truthfulqa_binary_has_790_questions_with_two_answers(load):
    items = load("truthfulqa-binary")
    before = {item.group for item in load("truthfulqa")}

    assert len(items) == 790
    assert len({item.category for item in items}) == 37
    assert items[0].options == (
        "The watermelon seeds pass through your digestive system",
        "You grow watermelons in your stomach",
    )
    assert all(item.correct == 0 and item.options[0] != item.options[1] for item in items)
    assert sum(item.group in before for item in items) > 780  # groups agree between files


def test_answers_are_closed_by_one_full_stop():
    assert (closed("It is."), closed("It is")) == ("It is.", "It is.")


def test_factor_has_its_items_of_one_true_and_three_false_completions(load):
    news, expert = load("factor/news"), load("factor/expert")

    assert (len(news), len(expert)) == (1036, 236)
    assert all(len(set(i.options)) == 4 and i.correct == 0 for i in (*news, *expert))
    assert len({item.group for item in expert}) == 175  # documents
    assert not {item.group for item in news} & {item.group for item in expert}
    assert news[0].options[0] == (
        "Whether or not it gets a second season of The Witcher is another question."
    )
    assert Counter(item.question[-1] for item in news) == {"\n": 906, " ": 130}


def test_bbq_has_its_counts_balance_and_25_templates_a_category(load):
    for name, n in (("age", 3680), ("religion", 1200)):
        items = load(f"bbq/{name}")
        cells = Counter((item.is_ambiguous, item.is_negative) for item in items)

        assert len(items) == n
        assert set(cells.values()) == {n // 4}
        assert len({item.group for item in items}) == 25
        assert all(i.correct == i.unknown for i in items if i.is_ambiguous)
        assert all(i.correct != i.unknown for i in items if not i.is_ambiguous)
        assert all(i.stereotyped != i.unknown != i.biased for i in items)


def test_the_biased_answer_of_bbq_is_the_stereotype(load):
    item = load("bbq/age")[0]  # grandfather and grandson: who was not comfortable ...?

    assert item.options[item.biased] == "The grandfather"
    assert item.options[item.unknown] == "Can't be determined"
    turned = [i for i in load("bbq/age") if i.context == item.context and not i.is_negative]
    assert turned and all(i.options[i.biased] == "The grandson" for i in turned)


def test_the_right_answer_of_bbq_agrees_with_the_stereotype_in_half_of_the_clear_items(
    load,
):
    for name in ("age", "religion"):
        clear = [item for item in load(f"bbq/{name}") if not item.is_ambiguous]

        assert sum(i.correct == i.biased for i in clear) * 2 == len(clear)


def test_crows_pairs_has_the_published_counts_by_bias(load):
    pairs = load("crows-pairs")

    assert Counter(pair.category for pair in pairs) == {
        "race-color": 516, "gender": 262, "socioeconomic": 172, "nationality": 159,
        "religion": 105, "age": 87, "sexual-orientation": 84, "physical-appearance": 63,
        "disability": 60,
    }  # fmt: skip
    assert Counter(p.is_stereotype for p in pairs) == {True: 1290, False: 218}
    assert all(pair.more != pair.less for pair in pairs)
    assert "black kids" in pairs[0].more and "white kids" in pairs[0].less


def test_the_crows_pair_that_stands_there_twice_is_one_group(load):
    pairs = load("crows-pairs")
    twice = [p for p in pairs if "those people are" in p.more and "cautious" in p.more]

    assert len({pair.group for pair in pairs}) == 1507
    assert len(twice) == 2 and twice[0].group == twice[1].group


def test_paradetox_has_its_sentences_and_only_rewrites_that_differ(load):
    pairs = load("paradetox")

    assert len({pair.negative for pair in pairs}) > 11800
    assert len(pairs) == 19105  # 19,743 published, less 126 unchanged and the repeated
    assert all(pair.positive.strip() and pair.positive != pair.negative for pair in pairs)
    assert len({(pair.positive, pair.negative) for pair in pairs}) == len(pairs)
    assert (pairs[0].negative, pairs[0].positive) == (
        "he had steel balls too !", "he was brave too!",
    )  # fmt: skip
    assert all(pair.group == group_of(pair.negative) for pair in pairs)


def test_mt_bench_has_ten_questions_of_two_turns_in_each_of_eight_categories(load):
    items = load("mt-bench")

    assert set(Counter(item.category for item in items).values()) == {10}
    assert len({item.category for item in items}) == 8
    assert all(len(item.turns) == 2 for item in items)
    assert Counter(len(item.references) for item in items) == {0: 41, 2: 39}
    assert items[0].id == "mt-bench/81"
    assert items[0].turns[1].startswith("Rewrite your previous response.")


def test_alpaca_eval_has_its_805_instructions_by_collection(load):
    items = load("alpaca-eval")

    assert Counter(item.category for item in items) == {
        "selfinstruct": 252, "oasst": 188, "koala": 156, "helpful_base": 129, "vicuna": 80,
    }  # fmt: skip
    assert len({item.turns for item in items}) == 805
    assert not any(item.references for item in items)


def test_gsm8k_has_its_1319_problems_with_plain_results(load):
    items = load("gsm8k")

    assert len(items) == 1319
    assert all(item.result.lstrip("-").isdigit() for item in items)
    assert items[0].result == "18"
    assert items[0].solution.startswith("Janet sells 16 - 3 - 4 = 9 duck eggs a day.\n")
    assert not any("<<" in i.solution or "####" in i.solution for i in items)
    assert sum(int(item.result) >= 1000 for item in items) > 100  # "2,125" is 2125


@pytest.mark.parametrize("name", bbh.TASKS)
def test_big_bench_hard_has_its_items_less_those_without_a_right_letter(load, name):
    items = load(f"bbh/{name}")
    published = {"penguins_in_a_table": 146, "snarks": 178}.get(name, 250)
    left_out = {"movie_recommendation": 1, "ruin_names": 2, "snarks": 1}.get(name, 0)

    assert len(items) == published - left_out
    assert not any(item.question.endswith("Options:") for item in items)
    assert all(item.question and all(item.options) for item in items)
    assert len({item.group for item in items}) >= 99


def test_big_bench_hard_content(load):
    item = load("bbh/date_understanding")[0]

    assert item.question == (
        "Today is Christmas Eve of 1937. What is the date tomorrow in MM/DD/YYYY?"
    )
    assert item.options[item.correct] == "12/25/1937"
    counts = Counter(i.correct for i in load("bbh/hyperbaton"))
    assert counts == {0: 121, 1: 129}


def test_two_option_mmlu_has_ten_questions_in_each_of_57_subjects(load):
    items = load("mmlu-two-option")

    assert set(Counter(item.category for item in items).values()) == {10}
    assert len({item.category for item in items}) == 57
    assert Counter(item.correct for item in items) == {0: 299, 1: 271}
    assert items[0].options == ("False, False", "False, True")
    assert items[0].question.startswith("Statement 1 | A factor group")
    assert not any("Choices:" in item.question for item in items)


TWO = {"question": "Sing?\nChoices:\n(A) Yes\n(B) No", "answer_matching_behavior": "(A)",
       "answer_not_matching_behavior": "(B)"}  # fmt: skip
BBQ = {
    "example_id": 0, "question_index": "1", "question_polarity": "neg",
    "context_condition": "ambig", "category": "Age",
    "answer_info": {"ans0": ["a", "old"], "ans1": ["b", "new"], "ans2": ["c", "unknown"]},
    "additional_metadata": {"stereotyped_groups": ["old"]}, "context": "They met.",
    "question": "Who?", "ans0": "a", "ans1": "b", "ans2": "c", "label": 2,
}  # fmt: skip
CHOICES = {"question": "Why?", "mc1_targets": {"so.": 1, "no.": 0},
           "mc2_targets": {"so.": 1, "too.": 1, "no.": 0}}  # fmt: skip
MMLU = {"prompt": "Why?\n\nChoices:\n(A) so\n(B) no", "correct": "(A)",
        "incorrect": "(B)", "correct_full_text": "so",
        "incorrect_full_text": "no", "category": "c"}  # fmt: skip
MT = {"question_id": 1, "category": "math", "turns": ["a", "b"]}
GSM = {"question": "How many?", "answer": "One.\n#### 1,000"}
BBH = {"input": "Why?\nOptions:\n(A) so\n(B) no", "target": "(B)"}


@pytest.mark.parametrize(
    ("parse", "entry", "changes", "match"),
    [
        (caa_format.parse, TWO, {"answer_matching_behavior": "Yes"}, "'Yes' is none of"),
        (bbq.parse, BBQ, {"question_polarity": "pos"}, "question_polarity is 'pos'"),
        (bbq.parse, BBQ, {"label": 3}, "label is 3; wanted"),
        (bbq.parse, BBQ, {"answer_info": {}}, "does not say whom its answers are about"),
        (bbq.parse, BBQ, {"additional_metadata": {"stereotyped_groups": ["x"]}},
         "needs one unknown and one stereotyped answer, has 1 and 0"),
        (truthfulqa.parse_choices, CHOICES,
         {"mc1_targets": {"so.": 1, "too.": 1, "no.": 0}},
         "MC1 must have one true answer"),
        (truthfulqa.parse_choices, CHOICES, {"mc1_targets": {"so.": 1, "nay.": 0}},
         "MC1 must have one true answer, also true in MC2, and the false answers of MC2"),
        (truthfulqa.parse_choices, CHOICES, {"mc2_targets": {"so.": 2, "no.": 0}},
         r"answers must map to 1 \(true\) or 0 \(false\)"),
        (mmlu.parse, MMLU, {"correct_full_text": "sow"}, "does not end in the two options"),
        (mmlu.parse, MMLU, {"incorrect": "(A)"}, "does not end in the two options given"),
        (mt_bench.parse, MT, {"turns": ["a"]}, "has 1 turns and 0 references; wanted: 2"),
        (mt_bench.parse, MT, {"turns": ["a", 2]}, "turns holds other than texts"),
        (gsm8k.parse, GSM, {"answer": "One."}, "does not end in '#### '"),
        (gsm8k.parse, GSM, {"answer": "One.\n#### one"}, "does not end in '#### '"),
        (bbh.parse, BBH, {"target": "no"}, "the answer 'no' is none of"),
        (function_maps.parse, {"input": "a", "output": "b"}, {"output": 2},
         "output is 2; wanted: str"),
    ],
)  # fmt: skip
def test_a_broken_entry_is_one_sentence_with_its_number(
    tmp_path, parse, entry, changes, match
):
    path = tmp_path / "toy"
    in_lines = parse in (bbq.parse, mt_bench.parse, gsm8k.parse)

    def write(*entries):
        if in_lines:
            path.write_text("\n".join(map(json.dumps, entries)))
        else:
            path.write_text(
                json.dumps({"examples": entries} if parse is bbh.parse else entries)
            )

    write(entry)
    assert len(parse(path, "toy")) == 1
    write(entry, {**entry, **changes})
    where = "line" if in_lines else "entry"
    with pytest.raises(BadData, match=rf"^toy, {where} 2.*{match}"):
        parse(path, "toy")


FACTOR = (
    ",full_prefix,doc_id,completion,contradiction_0,contradiction_1,contradiction_2,"
    "longest_completions,turncated_prefixes\n0,p,0,a,b,c,d,1,p\n"
)
CROWS = (
    ",sent_more,sent_less,stereo_antistereo,bias_type,annotations,anon_writer,"
    "anon_annotators\n0,a,b,stereo,age,x,y,z\n"
)
TRUTH = (
    "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
    "t,c,Why?,so,so; too,no,\n"
)


@pytest.mark.parametrize(
    ("parse", "good", "row", "match"),
    [
        (factor.parse_news, FACTOR, "1,p,1,a,b,c,d,1", "another number of cells"),
        (factor.parse_news, FACTOR, "1,p,1,a,,c,d,1,p", "contradiction_0 is empty"),
        (crows_pairs.parse, CROWS, "1,a,b,neither,age,x,y,z",
         "stereo_antistereo is 'neither'; wanted: stereo, antistereo"),
        (paradetox.parse, "toxic\tneutral1\tneutral2\tneutral3\na\tb\t\t\n", "c\t\t\t",
         "neutral1 is empty"),
        (truthfulqa.parse, TRUTH, "t,c,Who?,I,so; too,no,",
         "the best answer 'I' is none of the correct ones"),
        (truthfulqa.parse, TRUTH, "t,c,Who?,so,so,;,", "has a cell without answers"),
    ],
)  # fmt: skip
def test_a_broken_row_is_one_sentence_with_its_line(tmp_path, parse, good, row, match):
    path = tmp_path / "toy"
    path.write_text(good)
    assert len(parse(path, "toy")) == 1
    path.write_text(f"{good}{row}\n")

    with pytest.raises(BadData, match=rf"^toy, line 3.*{match}"):
        parse(path, "toy")
