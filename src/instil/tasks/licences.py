"""What a licence allows, read off the words that a data set states, and never guessed.

    "CC BY-SA 3.0"                              CC-BY-SA-3.0                  copyleft
    "Apache License, Version 2.0"               Apache-2.0                    permissive
    "Apache-2.0 (FLAN); CDLA-Sharing-1.0"       Apache-2.0, CDLA-Sharing-1.0  copyleft: as strict as its strictest
    "MIT OR GPL-3.0"                            MIT OR GPL-3.0                permissive: the reader may choose
    "Dedicated License (https://...)"           as stated                     custom: somebody must read it
    "Unknown", "Other (please specify)", ""     not stated                    unknown

A name counts only if nothing but filling words ("license", "version") stands beside it: a "modified MIT licence" is
custom. What stands in brackets is an explanation, except where it forbids commercial use or speaks of further terms.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, get_args

LicenceClass = Literal["permissive", "copyleft", "non-commercial", "custom", "unknown"]

#: From what asks least of those who use the data to what nobody can say.
CLASSES: tuple[LicenceClass, ...] = get_args(LicenceClass)
NOT_STATED = "not stated"

_NON_COMMERCIAL = re.compile(
    r"non[ -]?commercial|research (?:purposes? )?only|academic (?:use|research|purposes?)"
    r"|only for (?:academic|research)|for research (?:use|purposes)"
)
_FURTHER = re.compile(r"\bterms\b|\bappl(?:y|ies)\b|conditions|\bexcept\b|restrict")
_UNKNOWN = re.compile(
    r"(?:.*\b(?:unknown|unspecified|unclear|undetermined|conflict)\b.*"
    r"|(?:is )?not (?:stated|specified|known|given|found)"
    r"|(?:.* states )?none|n/?a|no(?: known)?|null|nan|other|others|[-?–.]*|creative commons|cc|open|open source"
    r"|missing|to ?do|tbd|todo)"
)
#: Words that say nothing about which licence it is.
_FILLING = re.compile(
    r"\b(?:the|an?|under|licen[cs]es?|licen[cs]ed|international|unported|generic|universal|deed|agreement|data"
    r"|dedication|version|gnu)\b"
)
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\][]*\]")
_URL = re.compile(r"https?://\S+")

#: Families by the words that name them: SPDX's beginning, class, and whether a number belongs to the name.
_FAMILIES: tuple[tuple[str, str, LicenceClass], ...] = (
    ("apache(?: software)?|asl", "Apache", "permissive"),
    ("mit|expat", "MIT", "permissive"),
    ("mit-0", "MIT-0", "permissive"),
    ("bsd[ -]?2(?:[ -]?clause)?|simplified bsd|freebsd|2[ -]clause bsd", "BSD-2-Clause", "permissive"),
    ("bsd[ -]?3(?:[ -]?clause)?|(?:new|revised|modified) bsd|3[ -]clause bsd", "BSD-3-Clause", "permissive"),
    ("bsd(?:[ -]style)?", "BSD", "permissive"),
    ("(?:cc[ -]?0|cc[ -]?zero|creative commons zero)(?: public domain)?", "CC0", "permissive"),
    ("public domain|pd|cc[ -]?pdm|no known copyright", "public domain", "permissive"),
    ("unlicense", "Unlicense", "permissive"),
    ("isc", "ISC", "permissive"),
    ("zlib", "Zlib", "permissive"),
    ("academic free|afl", "AFL", "permissive"),
    ("cdla[ -]permissive|community permissive", "CDLA-Permissive", "permissive"),
    ("odc[ -]by|odc attribution|open commons attribution", "ODC-By", "permissive"),
    ("pddl|odc[ -]pddl|open commons public domain", "PDDL", "permissive"),
    ("ogl(?:[ -]uk)?|open government", "OGL", "permissive"),
    ("cdla[ -]sharing|community sharing", "CDLA-Sharing", "copyleft"),
    ("odbl|odc[ -]odbl|open database|open commons open database", "ODbL", "copyleft"),
    ("gpl|general public", "GPL", "copyleft"),
    ("lgpl|(?:lesser|library) general public", "LGPL", "copyleft"),
    ("agpl|affero general public", "AGPL", "copyleft"),
    ("gfdl|fdl|free documentation", "GFDL", "copyleft"),
    ("mpl|mozilla public", "MPL", "copyleft"),
    ("epl|eclipse public", "EPL", "copyleft"),
    ("eupl|european union public", "EUPL", "copyleft"),
)
_KNOWN = [(re.compile(words), spdx, kind) for words, spdx, kind in _FAMILIES]
#: Those whose versions SPDX writes with a point: GPL v3 is GPL-3.0.
_NUMBERED = frozenset(
    ("GPL", "LGPL", "AGPL", "Apache", "MPL", "EPL", "AFL", "EUPL", "OGL", "CDLA-Permissive", "CDLA-Sharing")
)
_CREATIVE = re.compile(r"(?:creative commons|cc)[ -]*(?:attribution|by)((?:[ -]*(?:sa|nc|nd))*)")
_SPELT = (("share ?-?alike", "sa"), ("non ?-?commercial", "nc"), ("no ?-?deriv(?:ative)?s?(?: works)?", "nd"))


def licence_class(text: str) -> LicenceClass:
    """How strict a stated licence is; a list is as strict as its strictest, a choice (`OR`) as its mildest.

    No-derivatives terms are custom: whether a trained model is a derivative is for a lawyer.
    """
    return _read(text)[1]


def licence_name(text: str) -> str:
    """The licence by its usual (SPDX) name where it has one, as stated where not: "CC BY 4.0" -> "CC-BY-4.0"."""
    return _read(text)[0]


def _strictest(*kinds: LicenceClass) -> LicenceClass:
    return max(kinds, key=CLASSES.index, default="unknown")


@cache
def _read(text: str) -> tuple[str, LicenceClass]:
    stated = " ".join(str(text).split())
    restricted = _NON_COMMERCIAL.search(_spelt(stated)) is not None
    bare = _BRACKETS.sub(" ", _BRACKETS.sub(" ", stated))
    if restricted and not _CREATIVE.search(_spelt(bare)):
        return stated, "non-commercial"
    parts = [_either(part) for part in _pieces(bare)]
    name = ", ".join(dict.fromkeys(name for name, _ in parts)) or NOT_STATED
    kind = _strictest(*(kind for _, kind in parts))
    if kind == "custom" and len(parts) == 1:
        name = stated
    if _FURTHER.search(stated[len(stated.partition("(")[0]) :].lower()):
        return stated, _strictest(kind, "custom")
    return name, _strictest(kind, "non-commercial") if restricted else kind


def _pieces(text: str) -> list[str]:
    """The licences of a list; `Apache License, Version 2.0` is one, and so is `n/a`."""
    text = re.sub(r",\s*(?=(?:v|version)\.?\s*\d)", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"\bn/a\b", "not stated", text, flags=re.IGNORECASE)
    text = _URL.sub(lambda found: found[0].replace("/", "\0").replace(",", "\1"), text)
    pieces = re.split(r"[;,/|]|\s(?:and|AND|&|\+)\s", text)
    return [piece.replace("\0", "/").replace("\1", ",").strip(" .") for piece in pieces if piece.strip(" .")]


def _either(piece: str) -> tuple[str, LicenceClass]:
    """One licence, or several to choose from."""
    choices = [_one(choice.strip()) for choice in re.split(r"\s(?:or|OR)\s(?!later)", piece)]
    return " OR ".join(name for name, _ in choices), min((kind for _, kind in choices), key=CLASSES.index)


def _one(stated: str) -> tuple[str, LicenceClass]:
    words = _spelt(stated)
    if _UNKNOWN.fullmatch(words):
        return NOT_STATED, "unknown"
    words = " ".join(_FILLING.sub(" ", words).replace(":", " ").split())
    words, number, suffix = _numbered(words)
    creative = _CREATIVE.fullmatch(words)
    if creative:
        return _creative(creative[1], number)
    for pattern, spdx, kind in _KNOWN:
        if pattern.fullmatch(words):
            return _spdx(spdx, number, suffix), kind
    return stated, "custom"


def _spelt(stated: str) -> str:
    words = stated.lower().replace("_", "-")
    for spelling, short in _SPELT:
        if re.search(r"\b(?:cc|creative commons)\b", words):
            words = re.sub(spelling, short, words)
    return words


def _numbered(words: str) -> tuple[str, str, str]:
    """A name without its version, the version, and whether a later one will do."""
    found = re.search(r"(?<![a-z0-9])-?\s*v?(\d+(?:\.\d+)*)\s*(\+|or later|-only|-or-later)?$", words)
    if found is None or re.fullmatch(r"(?:bsd|cc|mit)[ -]?\d", words):
        glued = re.fullmatch(r"(a?l?gpl|mpl|epl|afl|gfdl|asl)v?(\d+(?:\.\d+)*)(\+?)", words)
        return (glued[1], glued[2], glued[3]) if glued else (words, "", "")
    return words[: found.start()].rstrip(" -"), found[1], found[2] or ""


def _creative(terms: str, number: str) -> tuple[str, LicenceClass]:
    said = [term for term in ("nc", "nd", "sa") if term in terms]
    name = "-".join(["CC-BY", *(term.upper() for term in said), *([number] if number else [])])
    kind: LicenceClass = (
        "non-commercial" if "nc" in said else "custom" if "nd" in said else "copyleft" if "sa" in said else "permissive"
    )
    return name, kind


def _spdx(name: str, number: str, suffix: str) -> str:
    if name == "CC0":  # it has one version
        return "CC0-1.0"
    if not number:
        return name
    whole = name in _NUMBERED and "." not in number
    return f"{name}-{number}{'.0' if whole else ''}" + ("-or-later" if "later" in suffix or suffix == "+" else "")
