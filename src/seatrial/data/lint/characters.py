"""Characters: damage from saving and copying, and what nobody sees but a tokenizer does."""

import re
import unicodedata
from collections.abc import Iterator

from seatrial.data.lint.sheet import Finding, Severity, Sheet

_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK")


def characters(sheet: Sheet) -> Iterator[Finding]:
    """Damaged, invisible and odd characters, text by text."""
    for row in sheet.rows:
        for name, text in {**row.texts, "group": row.group}.items():
            for severity, what, remedy in _faults(text):
                yield Finding(severity, "characters", f"{name} {what}", remedy, (row.line,))


def spaces(sheet: Sheet) -> Iterator[Finding]:
    """Spaces where nobody sees them; around the name of a group they make another one."""
    for row in sheet.rows:
        for name, text in {**row.texts, "group": row.group}.items():
            if what := _spacing(text, name in sheet.may_pad):
                yield Finding(
                    "warning",
                    "spaces",
                    f"{name} {what}",
                    "remove it; tasks add the spaces that their prompts need",
                    (row.line,),
                )


def _faults(text: str) -> Iterator[tuple[Severity, str, str]]:
    if text.isascii() and text.isprintable():
        return
    for sign in sorted(set(text)):
        kind = unicodedata.category(sign)
        named = f"U+{ord(sign):04X}"
        if sign == "\ufffd" or kind in ("Cs", "Co", "Cn"):
            yield (
                "error",
                f"holds {named}, left behind where a character was lost",
                "put the lost character back from the source",
            )
        elif kind == "Cc" and sign not in "\n\t":
            yield "error", f"holds the control character {named}", "remove it"
        elif kind == "Cf":
            yield (
                "warning",
                f"holds the invisible character {named}",
                "remove it unless the script needs it",
            )
        elif sign == "\t" or (kind in ("Zs", "Zl", "Zp") and sign != " "):
            yield (
                "warning",
                f"holds {named}, a space or break other than the usual one",
                "write an ordinary space, or \\n",
            )
    for run in dict.fromkeys(re.findall(r"[^\x00-\x7f]{2,}", text)):
        if meant := _misread(run):
            yield (
                "error",
                f"holds {run!r}, which is {meant!r} read in a wrong encoding",
                "read the source as UTF-8 and save it as UTF-8",
            )
    if unicodedata.normalize("NFC", text) != text:
        yield (
            "warning",
            "writes an accent as a character of its own, so equal words look different",
            "normalise the file to NFC",
        )
    for word in dict.fromkeys(re.findall(r"[^\W\d_]+", text)):
        if word.isascii():
            continue
        scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in word}
        if len(scripts & set(_SCRIPTS)) > 1:
            yield (
                "warning",
                f"mixes alphabets in the word {word!r}",
                "write it with the letters of one alphabet",
            )


def _misread(run: str) -> str | None:
    """What UTF-8 bytes that were read as Windows-1252 or Latin-1 once said."""
    for encoding in ("cp1252", "latin-1"):
        try:
            return run.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return None


def _spacing(text: str, may_pad: bool) -> str | None:
    inner = text[1:] if may_pad and text.startswith(" ") else text
    if inner != inner.strip():
        return "begins or ends with white space"
    if re.search(r"\S {2,}\S", inner):
        return "has several spaces in a row"
    return None
