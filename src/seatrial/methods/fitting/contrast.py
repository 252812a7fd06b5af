"""Activations of contrastive pairs, read once and shared by all methods.

Numbered traps are those of docs/hazards.md.
"""

import re
import unicodedata
import weakref
from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData
from seatrial.model import Model, TokenSelector
from seatrial.types import Pair, Site, Text, texts_of

_KEPT = 4
_memory: weakref.WeakKeyDictionary[Model, OrderedDict[tuple, dict[Site, Tensor]]] = (
    weakref.WeakKeyDictionary()
)
"""The latest readings by model. All blocks come out of one pass, and a sweep over layers or
a
control that permutes labels asks for the same texts again and again."""


def contrast(
    model: Model, pairs: Sequence[Pair], site: Site, at: TokenSelector
) -> tuple[Float[Tensor, "pair width"], Float[Tensor, "pair width"]]:
    """Activations of the positive and of the negative texts at a site, in float32.

    Raises:
        BadData: without pairs, where a pair's two sides are the same text, or where the
            token read is not what the selector means (``check_read``).
    """
    if not pairs:
        raise BadData(
            "there are no pairs to fit on; give at least one positive and negative text"
        )
    for pair in pairs:
        if pair.positive == pair.negative:
            raise BadData(
                f"pair {pair.id!r} has the same text on both sides, so it shows no "
                "difference; "
                "write a negative that lacks the behaviour"
            )
    positive, negative = texts_of(pairs, "positive"), texts_of(pairs, "negative")
    both = _read(model, (*positive, *negative), site, at)
    return both[: len(pairs)], both[len(pairs) :]


def _read(model: Model, texts: tuple[Text, ...], site: Site, at: TokenSelector) -> Tensor:
    # Sorted, so that swapped or permuted labels find the same reading.
    distinct = tuple(sorted(set(texts), key=repr))
    kept = _memory.setdefault(model, OrderedDict())
    found = kept.setdefault((distinct, at), {})
    if site not in found:
        # Blocks in the last quarter are seldom asked for, and cost a quarter of the time.
        ahead = model.n_layers - model.n_layers // 4
        wanted = (
            [Site(layer) for layer in range(max(site.layer + 1, ahead))]
            if site.point == "resid"
            else [site]
        )
        for text in distinct:
            check_read(model, text, at)
        found.update(model.activations(distinct, wanted, at))
    kept.move_to_end((distinct, at))
    while len(kept) > _KEPT:
        kept.popitem(last=False)
    row = {text: k for k, text in enumerate(distinct)}
    return found[site][[row[text] for text in texts]]


def check_read(model: Model, text: Text, at: TokenSelector) -> str:
    """The tokens that a selector reads of a text, once they are what it means.

    Told from the text itself and not from counts, so that a token more or less (BOS, an
    end-of-text token, padding, a truncated text) is seen (traps T6, T28, T48): ``last`` is
    the end of the text, ``second_last`` the token before it and, of an answer such as
    "(A)", the letter, ``last_prompt`` the end of the prompt, ``completion`` the answer and
    nothing else, ``mean`` all of the text without BOS.

    Raises:
        BadData: if they are not.
    """
    encoder = model.encoder
    encoded = encoder.encode_text(text)
    start, stop = encoder.read_span(encoded, at)
    ids, read = encoded.ids, encoded.ids[start:stop]
    prompt = encoder.render(text.prompt).text
    whole = prompt + text.completion
    after, is_one = len(ids) - stop, len(read) == 1
    letter = re.search(r"\(?([A-Z])\)\s*$", text.completion)
    match at:
        case "last":
            means = "the end of the text"
            ok = is_one and after == 0 and _ends(model, whole, read)
        case "second_last" if letter:
            means = f"the letter {letter[1]!r}"
            ok = is_one and encoder.decode(read).strip(" (") == letter[1]
        case "second_last":
            means = "the token before the end of the text"
            ok = is_one and after == 1 and _ends(model, whole, ids[start:])
        case "last_prompt":
            means = "the end of the prompt"
            ok = is_one and _ends(model, prompt, read)
            ok = ok and _is(model, text.completion, ids[stop:])
        case "completion":
            means, ok = "the completion", _is(model, text.completion, read)
        case _:
            means = "the text without BOS"
            bos = encoder.tokenizer.bos_token
            ok = _is(model, whole.removeprefix(str(bos)) if bos else whole, read)
    found = encoder.decode(read)
    if not ok:
        raise BadData(
            f"what is read at {at!r} of the text ending in {whole[-20:]!r} should be "
            f"{means}, but the tokens there are {found[-20:]!r}; read at another token, or "
            "write the text so that the tokenizer keeps that part apart"
        )
    return found


def _ends(model: Model, text: str, ids: Sequence[int]) -> bool:
    """Whether a text ends in what some tokens say."""
    said = model.encoder.decode(ids)
    if _is_unsaid(model, ids):
        return True
    if not said.strip():
        return text != text.rstrip()
    return _plain(text).endswith(_plain(said))


def _is(model: Model, text: str, ids: Sequence[int]) -> bool:
    """Whether tokens say a text and nothing else."""
    return _is_unsaid(model, ids) or _plain(model.encoder.decode(ids)) == _plain(text)


def _is_unsaid(model: Model, ids: Sequence[int]) -> bool:
    """Whether tokens stand for a word that is unknown, or for part of a character."""
    names = model.encoder.tokenizer
    others = (names.bos_token_id, names.eos_token_id, names.pad_token_id)
    is_unknown = names.unk_token_id in ids and names.unk_token_id not in others
    return is_unknown or "\ufffd" in model.encoder.decode(ids)


def _plain(text: str) -> str:
    """Without spaces and forms, which tokenizers may change."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
