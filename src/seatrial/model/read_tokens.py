"""Whether the token that a selector reads of a text is the one that it means.

Numbered traps are those of docs/hazards.md.
"""

import re
import unicodedata
from collections.abc import Sequence

from seatrial.errors import BadData
from seatrial.model.tokens import Encoder, TokenSelector
from seatrial.types import Text


def read_tokens(encoder: Encoder, text: Text, at: TokenSelector) -> str:
    """The tokens that a selector reads of a text, once they are what it means.

    Decided by the text itself and not by counts, so that a token more or less (BOS, an
    end-of-text token, padding, a truncated text) is seen (traps T6, T28, T48): ``last`` is
    the end of the text, ``second_last`` the token before it and, of an answer such as
    "(A)", the letter, ``last_prompt`` the end of the prompt, ``completion`` the answer and
    nothing else, ``mean`` all of the text without BOS.

    Raises:
        BadData: if they are not.
    """
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
            ok = is_one and after == 0 and _end(encoder, whole, read)
        case "second_last" if letter:
            means = f"the letter {letter[1]!r}"
            ok = is_one and encoder.decode(read).strip(" (") == letter[1]
        case "second_last":
            means = "the token before the end of the text"
            ok = is_one and after == 1 and _end(encoder, whole, ids[start:])
        case "last_prompt":
            means = "the end of the prompt"
            ok = is_one and _end(encoder, prompt, read)
            ok = ok and _are(encoder, text.completion, ids[stop:])
        case "completion":
            means, ok = "the completion", _are(encoder, text.completion, read)
        case _:
            means = "the text without BOS"
            bos = encoder.tokenizer.bos_token
            ok = _are(encoder, whole.removeprefix(str(bos)) if bos else whole, read)
    words = encoder.decode(read)
    if not ok:
        raise BadData(
            f"what is read at {at!r} of the text ending in {whole[-20:]!r} should be "
            f"{means}, but the tokens there are {words[-20:]!r}; read at another token, or "
            "write the text so that the tokenizer keeps that part apart"
        )
    return words


def _end(encoder: Encoder, text: str, ids: Sequence[int]) -> bool:
    """Whether some tokens are the end of a text."""
    words = encoder.decode(ids)
    if _are_unreadable(encoder, ids):
        return True
    if not words.strip():
        return text != text.rstrip()
    return _plain(text).endswith(_plain(words))


def _are(encoder: Encoder, text: str, ids: Sequence[int]) -> bool:
    """Whether tokens are a text and nothing else."""
    return _are_unreadable(encoder, ids) or _plain(encoder.decode(ids)) == _plain(text)


def _are_unreadable(encoder: Encoder, ids: Sequence[int]) -> bool:
    """Whether tokens stand for a word that is unknown, or for part of a character."""
    bos, eos, pad, unknown = encoder.special
    is_unknown = unknown in ids and unknown not in (bos, eos, pad)
    return is_unknown or "\ufffd" in encoder.decode(ids)


def _plain(text: str) -> str:
    """Without spaces and forms, which tokenizers may change."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
