"""Languages by their codes, whatever a data set calls them: "English", "eng", "en-GB" -> "en".

    language_codes("English, Spanish")          ("en", "es")
    language_code("Haitian Creole, Haitian")    "ht": two names of one language
    language_code("not stated")                 "und": undetermined, never guessed
    written_in("English, Spanish", ["en"])      False: part of it is not

Names of the commonest languages are looked up here; the others in langcodes, which is imported when first needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

#: ISO 639's codes for "nobody says" and "several languages".
UNDETERMINED = "und"
SEVERAL = "mul"

_COMMON = {
    "english": "en",
    "arabic": "ar",
    "bengali": "bn",
    "chinese": "zh",
    "czech": "cs",
    "dutch": "nl",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "hebrew": "he",
    "hindi": "hi",
    "indonesian": "id",
    "italian": "it",
    "japanese": "ja",
    "korean": "ko",
    "persian": "fa",
    "polish": "pl",
    "portuguese": "pt",
    "romanian": "ro",
    "russian": "ru",
    "spanish": "es",
    "swedish": "sv",
    "tamil": "ta",
    "telugu": "te",
    "thai": "th",
    "turkish": "tr",
    "ukrainian": "uk",
    "urdu": "ur",
    "vietnamese": "vi",
    # What English calls them and langcodes does not know.
    "haitian": "ht",
    "gurajati": "gu",
    "bokmål, norwegian": "nb",
    "multilingual": SEVERAL,
}
_CODES = frozenset(_COMMON.values())
_TAG = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]{1,8})*")
_BETWEEN = re.compile(r"[,;/|+&]|\band\b")
_UNSAID = frozenset(("", "unknown", "not stated", "none", "nan", "null", "other", "-", "und", "undetermined"))


def language_codes(text: str) -> tuple[str, ...]:
    """The languages of a name or a list of names, each once, in the order written; `und` for what is no language."""
    return _codes(" ".join(text.split()).lower())


def language_code(text: str) -> str:
    """The one language that a text names; `mul` where it names several, `und` where it names none."""
    found = language_codes(text)
    return found[0] if len(found) == 1 else SEVERAL


def written_in(text: str, wanted: Iterable[str]) -> bool:
    """Whether every language that a text names is among those wanted (names or codes), and is known."""
    allowed = {code for name in wanted for code in language_codes(name)} - {UNDETERMINED}
    return allowed.issuperset(language_codes(text))


def is_language(name: str) -> bool:
    """Whether a name or code, or each of a list of them, is known as a language."""
    return UNDETERMINED not in language_codes(name)


@cache
def _codes(text: str) -> tuple[str, ...]:
    if text in _COMMON:
        return (_COMMON[text],)
    names = [name.strip() for name in _BETWEEN.split(text) if name.strip()]
    return tuple(dict.fromkeys(map(_one, names))) or (UNDETERMINED,)


@cache
def _one(name: str) -> str:
    if name in _UNSAID:
        return UNDETERMINED
    if name in _COMMON:
        return _COMMON[name]
    if name[:2] in _CODES and re.fullmatch(r"[a-z]{2}(?:[-_][a-z]{2})?", name):
        return name[:2]
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    if _TAG.fullmatch(name):
        try:
            language = langcodes.get(name.replace("_", "-"))
        except LanguageTagError:
            return UNDETERMINED
        if language.is_valid() and language.language:
            return language.language
    try:
        return langcodes.find(name).language or UNDETERMINED
    except LookupError:
        return UNDETERMINED
