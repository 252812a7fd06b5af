"""The word maps of the function-vector paper (Todd et al. 2024): input to output.

Abstractive maps ask for something that is not in the input, such as an antonym;
extractive ones pick a word out of a list. A reversed pair (hot to cold, cold to hot) is
in the same group, so that an answer seen in fitting is not asked back in the test.
"""

from pathlib import Path

from seatrial.data.records import MapPair, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import json_list


def parse(path: Path, name: str) -> tuple[MapPair, ...]:
    """Read a JSON list of inputs and outputs, without outer white space.

    A pair that stands in the file twice is kept twice, in one group.

    Raises:
        BadData: with the entry and what is wrong with it.
    """
    rows = [
        (entry["input"].strip(), entry["output"].strip())
        for _, entry in json_list(path, {"input": str, "output": str})
    ]
    groups = _groups([(group_of(a), group_of(a, b), group_of(b, a)) for a, b in rows])
    return tuple(
        MapPair(f"{name}/{row}", group, *pair)
        for row, (pair, group) in enumerate(zip(rows, groups, strict=True))
    )


def _groups(keys: list[tuple[str, str, str]]) -> list[str]:
    """Join rows with one input, and rows that are each other's reverse.

    Args:
        keys: of each row its input, its pair, and its pair reversed.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while (up := parent.setdefault(key, key)) != key:
            key = up
        return key

    for start, pair, reverse in keys:
        # The smaller of a pair and its reverse stands for both.
        one, other = sorted([root(start), root(min(pair, reverse))])
        parent[other] = one
    return [root(start) for start, _, _ in keys]


ABSTRACTIVE = {
    "antonym": "a word to its opposite",
    "capitalize": "a word to itself with a capital",
    "capitalize_first_letter": "a word to its first letter as a capital",
    "capitalize_last_letter": "a word to its last letter as a capital",
    "capitalize_second_letter": "a word to its second letter as a capital",
    "country-capital": "a country to its capital",
    "country-currency": "a country to its currency",
    "english-french": "an English word to French",
    "english-german": "an English word to German",
    "english-spanish": "an English word to Spanish",
    "landmark-country": "a landmark to its country",
    "lowercase_first_letter": "a word to its first letter in lower case",
    "lowercase_last_letter": "a word to its last letter in lower case",
    "national_parks": "a national park unit to its US state",
    "next_capital_letter": "a word to the capital after its first letter",
    "next_item": "an item of a sequence to the next",
    "park-country": "a national park to its country",
    "person-instrument": "a musician to the instrument",
    "person-occupation": "a person to the occupation",
    "person-sport": "an athlete to the sport",
    "present-past": "a verb to its simple past",
    "prev_item": "an item of a sequence to the one before",
    "product-company": "a product to its company",
    "sentiment": "a film review to positive or negative",
    "singular-plural": "a noun to its plural",
    "synonym": "a word to one that means the same",
    "word_length": "a word to its number of letters",
}
EXTRACTIVE = {
    "adjective_v_verb_3": "three words to the adjective among them",
    "alphabetically_first_3": "three words to the first in the alphabet",
    "animal_v_object_3": "three words to the animal among them",
    "choose_first_of_3": "three words to the first",
}

SETS: tuple[Dataset, ...] = (
    *(Dataset(f"maps/{n}", f"map: {about}", parse) for n, about in ABSTRACTIVE.items()),
    *(
        Dataset(f"extractive/{n}", f"map: {about}", parse)
        for n, about in EXTRACTIVE.items()
    ),
)
