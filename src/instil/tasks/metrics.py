"""How an answer is judged: one prediction against all accepted references gives a number from 0 to 1.

    exact_match("  Yes. ", ["yes"])                       1.0   case, blanks and one full stop do not count
    accuracy("(B)", ["(A)"])                              0.0   for a chosen option: the very text
    rouge_l("the cat sat", ["a cat sat", "dogs bark"])    0.67  the best over the references

Metrics live with the tasks because they are rewards too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

Metric = Callable[[str, Sequence[str]], float]

_BLANKS = re.compile(r"\s+")
#: Outside ASCII: one token a character where words are not set apart by blanks (kana, Han, Hangul, Thai, Lao, Khmer),
#: else runs without blanks and punctuation.
_WORDS = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff\u1780-\u17ff]|[^\s!-/:-@\[-`{-~।॥،。、？！؟۔]+"
)
_ANSWER = re.compile(r"answer(?: is|:)", re.IGNORECASE)


def normalised(text: str) -> str:
    """The text as `exact_match` compares it: NFC, case folded, blanks collapsed, without one final full stop."""
    collapsed = _BLANKS.sub(" ", unicodedata.normalize("NFC", text)).strip().casefold()
    return collapsed.removesuffix(".").rstrip() if len(collapsed) > 1 else collapsed


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals a reference, both normalised."""
    found = normalised(prediction)
    return float(any(found == normalised(reference) for reference in references))


def accuracy(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction is a reference, but for blanks around it: for an option that was chosen, not written."""
    found = prediction.strip()
    return float(any(found == reference.strip() for reference in references))


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """The longest common subsequence of stemmed words, as F-measure; the best over the references.

    Equal to the `rouge-score` package with its stemmer for ASCII; that package drops every other letter, so texts in
    other scripts are cut into words here.
    """
    return max(
        (float(_scorer().score(reference, prediction)["rougeL"].fmeasure) for reference in references), default=0.0
    )


def final_answer(text: str) -> str:
    """What stands after the last `answer is` (or `answer:`), without the full stop; the whole text if there is none."""
    *_, last = _ANSWER.split(text)
    found = last.strip().split("\n")[0] if last is not text and last.strip() else text
    return found.strip().removesuffix(".").strip()


class _Words:
    """The tokenizer of `rouge_l`."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self._ascii = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        """The words that are compared."""
        if text.isascii():
            return list(self._ascii.tokenize(text))
        return _WORDS.findall(unicodedata.normalize("NFC", text).casefold())


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # imports nltk: half a second, only where it is used

    return RougeScorer(["rougeL"], tokenizer=_Words())


METRICS: Mapping[str, Metric] = {"exact_match": exact_match, "accuracy": accuracy, "rouge_l": rouge_l}
