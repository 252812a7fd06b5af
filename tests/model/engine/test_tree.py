"""A request's tree holds every token that must be read once, and asks for every score."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seatrial.model.engine.layout import Layout
from seatrial.model.engine.tree import Grove, Target, Tree
from seatrial.model.tokens import Encoded
from seatrial.steering.intervention import scope_span

# Few different tokens, so that answers often share a start.
TOKENS = st.integers(0, 2)
PROMPTS = st.lists(TOKENS, min_size=1, max_size=5).map(tuple)
ANSWERS = st.lists(
    st.lists(TOKENS, min_size=1, max_size=5).map(tuple), min_size=1, max_size=5
)
QUESTIONS = st.tuples(PROMPTS, ANSWERS)
SCOPES = ["all", "prompt", "last", "from_last_prompt", "generated", "first_4", "at_0"]


def grow(prompt, answers, first=0):
    """The tree of a prompt with its answers, and the slot where each answer begins."""
    texts = [Encoded(prompt + answer, len(prompt)) for answer in answers]
    firsts = [first + sum(map(len, answers[:k])) for k in range(len(answers))]
    return Tree.of_answers(texts, firsts), firsts


def path(tree, node):
    """The nodes from the root to a node, by walking up."""
    nodes = []
    while node >= 0:
        nodes.insert(0, node)
        node = tree.parents[node]
    return nodes


def orchard(questions):
    """One tree for each question; slots are numbered through."""
    trees, first = [], 0
    for prompt, answers in questions:
        trees.append(grow(prompt, answers, first)[0])
        first += sum(map(len, answers))
    return trees


def test_answers_share_their_start():
    tree, _ = grow((7, 8), [(1, 2, 3), (1, 2, 4, 5), (1, 9), (6,)])

    assert tree.ids == (7, 8, 1, 2, 4)  # 3, 5, 9 and 6 are only ever predicted
    assert tree.parents == (-1, 0, 1, 2, 3)
    assert tree.positions == (0, 1, 2, 3, 4)
    assert tree.target_nodes == (1, 2, 3, 4)
    assert [target.node for target in tree.targets] == [1, 2, 3, 1, 2, 3, 4, 1, 2, 1]


def test_branches_stand_at_one_position():
    tree, _ = grow((7,), [(1, 2, 3), (4, 2, 3)])

    assert tree.ids == (7, 1, 2, 4, 2)
    assert tree.parents == (-1, 0, 1, 0, 3)
    assert tree.positions == (0, 1, 2, 1, 2)


@given(question=QUESTIONS)
def test_every_scored_token_is_asked_for_once_where_it_is_predicted(question):
    prompt, answers = question
    tree, firsts = grow(prompt, answers, first=10)

    asked = {target.slot: target for target in tree.targets}

    assert sorted(asked) == list(range(10, 10 + sum(map(len, answers))))
    assert len(asked) == len(tree.targets)
    for answer, first in zip(answers, firsts, strict=True):
        for place, token in enumerate(answer):
            target = asked[first + place]
            read = [tree.ids[node] for node in path(tree, target.node)]
            assert read == [*prompt, *answer[:place]]
            assert target == Target(target.node, token, first + place)


@given(question=QUESTIONS)
def test_a_tree_has_each_path_that_is_read_once_and_no_other(question):
    prompt, answers = question
    tree, _ = grow(prompt, answers)

    paths = [tuple(tree.ids[k] for k in path(tree, node)) for node in range(len(tree.ids))]

    whole = {prompt[: k + 1] for k in range(len(prompt))}
    whole |= {prompt + answer[:k] for answer in answers for k in range(len(answer))}
    assert len(set(paths)) == len(paths)
    assert set(paths) == whole
    assert list(tree.positions) == [len(p) - 1 for p in paths]
    assert paths[: len(prompt)] == [prompt[: k + 1] for k in range(len(prompt))]


@given(question=QUESTIONS)
def test_ancestors_are_the_nodes_on_the_way_from_the_root(question):
    tree, _ = grow(*question)

    nodes = range(len(tree.ids))
    expected = [[other in path(tree, node) for other in nodes] for node in nodes]

    assert tree.ancestors.tolist() == expected


@pytest.mark.parametrize("scope", SCOPES)
@given(question=QUESTIONS)
def test_a_node_is_edited_if_its_position_is_in_the_scope(scope, question):
    prompt, answers = question
    tree, _ = grow(prompt, answers)

    edited = tree.edited(scope)

    for answer in answers:
        read = len(prompt) + len(answer) - 1  # the last token is only predicted
        start, stop = scope_span(scope, len(prompt), len(prompt) + len(answer))
        for k in range(read):
            text = [*prompt, *answer][: k + 1]
            node = next(
                n
                for n in range(len(tree.ids))
                if [tree.ids[m] for m in path(tree, n)] == text
            )
            assert edited[node] == (start <= k < stop)


def test_a_text_is_a_path_that_asks_for_nothing():
    tree = Tree.of_text([5, 6, 5])

    assert (tree.ids, tree.parents, tree.positions) == ((5, 6, 5), (-1, 0, 1), (0, 1, 2))
    assert (tree.n_prompt, tree.targets, tree.target_nodes) == (3, (), ())


GROVES = st.lists(st.tuples(QUESTIONS, st.integers(0, 2)), min_size=1, max_size=4)


def plant(drawn):
    """A grove whose trees begin at their root, their last prompt token or after it."""
    trees = orchard([question for question, _ in drawn])
    starts = [
        (0, tree.n_prompt - 1, tree.n_prompt)[kind]
        for tree, (_, kind) in zip(trees, drawn, strict=True)
    ]
    return Grove(tuple(trees), tuple(starts))


@given(drawn=GROVES)
def test_a_grove_lays_out_every_tree_from_its_start(drawn):
    grove = plant(drawn)
    laid = [
        (tree, node)
        for tree, start in zip(grove.trees, grove.starts, strict=True)
        for node in range(start, len(tree.ids))
    ]

    assert grove.width == len(laid) == sum(grove.lengths)
    assert grove.ids.tolist() == [tree.ids[node] for tree, node in laid]
    assert grove.positions.tolist() == [tree.positions[node] for tree, node in laid]
    for scope in SCOPES:
        assert grove.edited(scope).tolist() == [
            tree.edited(scope)[node] for tree, node in laid
        ]
    assert list(grove.offsets) == [sum(grove.lengths[:k]) for k in range(len(grove.trees))]


@given(drawn=GROVES)
def test_a_grove_asks_for_the_targets_that_are_laid_out(drawn):
    grove = plant(drawn)

    rows, tokens, slots = (column.tolist() for column in grove.targets)

    wanted = {
        target.slot: (offset + target.node - start, target.token)
        for tree, offset, start in zip(
            grove.trees, grove.offsets, grove.starts, strict=True
        )
        for target in tree.targets
        if target.node >= start
    }
    places = grove.target_rows.tolist()
    found = {
        slot: (places[row], token)
        for row, token, slot in zip(rows, tokens, slots, strict=True)
    }
    assert len(slots) == len(set(slots))
    assert found == wanted
    assert sorted(set(places)) == places  # each distribution is read once
    if rows:
        assert set(rows) == set(range(len(places)))


@given(drawn=GROVES, data=st.data())
def test_a_part_of_a_grove_is_the_grove_of_some_trees(drawn, data):
    grove = plant(drawn)
    first = data.draw(st.integers(0, len(drawn) - 1))
    last = data.draw(st.integers(first + 1, len(drawn)))

    part = grove.part(first, last)

    end = grove.offsets[last] if last < len(drawn) else grove.width
    assert torch.equal(part.ids, grove.ids[grove.offsets[first] : end])
    assert part.starts == grove.starts[first:last]


@pytest.mark.parametrize("is_packed", [True, False])
@given(drawn=GROVES, steerings=st.integers(1, 3))
def test_a_layout_brings_every_number_there_and_back(is_packed, drawn, steerings):
    grove = plant([(question, 0) for question, _ in drawn])
    layout = Layout(grove, steerings, packed=is_packed)
    nodes = torch.arange(steerings * grove.width * 2.0).reshape(steerings, grove.width, 2)

    spread = layout.spread(nodes)

    assert spread.shape == (layout.rows, layout.tokens, 2)
    assert layout.mask.shape == spread.shape[:2]
    assert int(layout.mask.sum()) == steerings * grove.width
    assert torch.equal(layout.collect(spread), nodes)
    flat = spread.flatten(0, 1)
    assert torch.equal(flat[layout.places(torch.arange(grove.width))], nodes.flatten(0, 1))


@pytest.mark.parametrize("is_packed", [True, False])
@given(drawn=GROVES, steerings=st.integers(1, 3))
def test_a_layout_replaces_real_tokens_and_leaves_padding_alone(
    is_packed, drawn, steerings
):
    grove = plant([(question, 0) for question, _ in drawn])
    layout = Layout(grove, steerings, packed=is_packed)
    h = torch.randn(layout.rows, layout.tokens, 2)
    new = torch.randn(steerings, grove.width, 2)
    before = h.clone()

    replaced = layout.replace(h, new)

    is_real = layout.mask.bool()
    assert torch.equal(layout.collect(replaced), new)
    assert torch.equal(replaced[~is_real], before[~is_real])
    if not is_packed:
        assert torch.equal(h, before)


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5)
)
def test_the_tree_of_texts_holds_each_text_as_a_path(texts):
    tree, paths = Tree.of_texts(texts)

    for text, path in zip(texts, paths, strict=True):
        assert [tree.ids[node] for node in path] == text
        assert [tree.positions[node] for node in path] == list(range(len(text)))
        assert [tree.parents[node] for node in path] == [-1, *path[:-1]]
    assert len(tree.ids) == len({tuple(t[: k + 1]) for t in texts for k in range(len(t))})
    shared = [
        len({tuple(t[: k + 1]) for t in texts}) == 1 for k in range(min(map(len, texts)))
    ]
    assert tree.n_prompt == sum(shared)
