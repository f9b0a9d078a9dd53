"""Whether an answer's quotations stand in the passages that it cites. It checks words, not truth.

A claim is a sentence of the answer; the labels behind it say where it comes from. What a claim quotes must stand in
one of its passages word for word, apart from case, white space and typography (quotation marks, dashes, ligatures).
A claim without quotation marks can only be compared: how many of its words stand there, and the longest run of them.
A claim with all words in its passage may still be false (a "not" elsewhere), and one in other words may be true.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from core.errors import InputError
from search.repeats import words_of

VERDICTS = ("quoted", "paraphrase", "not_found", "unknown_label", "changed", "uncited")
FAILURES = {"not_found", "unknown_label", "changed"}
# A claim in its own words counts as drawn from its passage while half of its words stand there. A weak hint, no proof:
# it tells words about something else from words about this.
MIN_SHARE = 0.5
MIN_CLAIM_WORDS = 3  # shorter stretches without a label are headings and phrases, not claims
MAX_ANSWER_CHARACTERS = 1_000_000

_LABELS = re.compile(r"\[(\d+(?:\s*[,;–-]\s*\d+)*)\]")
_QUOTED = re.compile(r'"((?:(?!\n\s*\n)[^"])+)"')  # a lone mark, such as for inches, reaches no other paragraph
_END = re.compile(
    r"(?<=[.!?])[\"')\]]*(?:\s*\[[\d\s,;–-]+\])*(?=\s+[^\sa-z]|\s*$)"  # with the labels behind it
    r"|(?<=[。！？])[\"')\]]*(?:\s*\[[\d\s,;–-]+\])*"
    r"|\n\s*\n|\n(?=\s*(?:[-*•]|\d+\.)\s)"  # a paragraph's end, or the next item of a list
)
_MARKS = str.maketrans(dict.fromkeys("“”„‟«»「」『』＂", '"'))
_TYPOGRAPHY = _MARKS | str.maketrans(dict.fromkeys("‘’‚‛′`", "'") | dict.fromkeys("‐‑‒–—―−", "-") | {"\u00ad": None})


@dataclass(frozen=True, slots=True)
class Check:
    """One citation of a claim, or a claim without one (`label` None).

    `verdict`: `quoted` (all its quotations, or the claim itself, stand there word for word), `paraphrase` (no
    quotation, and at least half of its words stand there), `not_found`, `unknown_label`, `changed` (the index no longer
    holds the passage as it was), `uncited`. `start` and `end` place the claim in the answer. `missing` are quotations
    that stand in none of the claim's passages; `share` of its words stand in this one; `longest` is the longest run
    of them.
    """

    verdict: str
    label: int | None
    claim: str
    start: int
    end: int
    quotes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    share: float = 0.0
    longest: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether the citation doesn't hold. A claim without citation is told, but no failure."""
        return self.verdict in FAILURES


def check_citations(
    answer: str,
    passages: Mapping[int, str],
    is_current: Callable[[int], bool] | None = None,
    min_share: float = MIN_SHARE,
) -> list[Check]:
    """Every citation of the answer, in its order, and the claims without one.

    `passages` are the cited texts by label; `is_current` says whether the index still holds one of them unchanged.
    `min_share` of a claim's words must stand in its passage where it quotes nothing.
    Raises `InputError` for an empty answer or one of more than a million characters.
    """
    if not answer.strip():
        raise InputError("The answer is empty; give the text whose citations shall be checked.")
    if len(answer) > MAX_ANSWER_CHARACTERS:
        raise InputError(f"The answer has {len(answer):,} characters; the limit is {MAX_ANSWER_CHARACTERS:,}.")
    return [check for claim in _claims(answer) for check in _checks(claim, passages, is_current, min_share)]


def summarise(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as JSON values with their number by verdict; `ok` where no citation failed and there is one."""
    cited = [check for check in checks if check.label is not None]
    return {
        "ok": bool(cited) and not any(check.is_failure for check in checks),
        "n_citations": len(cited),
        "counts": {verdict: sum(check.verdict == verdict for check in checks) for verdict in VERDICTS},
        "checks": [_check_json(check) for check in checks],
    }


def normalise(text: str) -> str:
    """The text as it is compared: NFKC, without case, typographic variants made plain, runs of white space as one."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_TYPOGRAPHY).casefold().split())


@dataclass(frozen=True, slots=True)
class _Claim:
    """A sentence of the answer without its labels; `start` and `end` include them."""

    text: str
    start: int
    end: int
    labels: tuple[int, ...]


def _claims(answer: str) -> Iterator[_Claim]:
    """The answer's sentences; labels behind a full stop belong to the sentence before, quotations stay whole."""
    plain = answer.translate(_MARKS)
    quoted = [found.span() for found in _QUOTED.finditer(plain)]
    ends = [found.end() for found in _END.finditer(plain)]
    at = 0
    for end in [*(end for end in ends if not any(low < end < high for low, high in quoted)), len(answer)]:
        piece = answer[at:end]
        text = re.sub(r" (?=[.,;:!?。！？])", "", " ".join(_LABELS.sub(" ", piece).split()))
        labels = tuple(dict.fromkeys(label for found in _LABELS.finditer(piece) for label in _numbers(found[1])))
        if labels or len(words_of(text)) >= MIN_CLAIM_WORDS:
            start = at + len(piece) - len(piece.lstrip())
            yield _Claim(text, start, at + len(piece.rstrip()), labels)
        at = end


def _numbers(label: str) -> Iterator[int]:
    """The labels that "1, 3–5" names."""
    for part in re.split(r"[,;]", label):
        low, _, high = re.sub(r"\s*[–-]\s*", "-", part.strip()).partition("-")
        first, last = int(low), int(high or low)
        yield from range(first, last + 1) if 0 <= last - first < 100 else (first, last)


def _checks(
    claim: _Claim, passages: Mapping[int, str], is_current: Callable[[int], bool] | None, min_share: float
) -> Iterator[Check]:
    quotes = tuple(
        found.strip() for found in _QUOTED.findall(claim.text.translate(_TYPOGRAPHY)) if words_of(found)
    )  # fmt: skip
    if not claim.labels:
        yield Check("uncited", None, claim.text, claim.start, claim.end, quotes)
        return
    known = {label: normalise(passages[label]) for label in claim.labels if label in passages}
    missing = tuple(quote for quote in quotes if known and not any(_holds(text, quote) for text in known.values()))
    for label in claim.labels:
        if label not in known:
            yield Check("unknown_label", label, claim.text, claim.start, claim.end, quotes, missing)
            continue
        share, longest = _overlap(claim.text, passages[label])
        verdict = _verdict(claim.text, quotes, missing, known[label], share >= min_share)
        if is_current is not None and not is_current(label):
            verdict = "changed"
        yield Check(verdict, label, claim.text, claim.start, claim.end, quotes, missing, share, longest)


def _verdict(claim: str, quotes: Sequence[str], missing: Sequence[str], text: str, is_near: bool) -> str:
    """A quotation must stand in one of the claim's passages; another of them may support the rest of the claim."""
    if missing:
        return "not_found"
    if any(_holds(text, quote) for quote in quotes) or (not quotes and _holds(text, claim)):
        return "quoted"
    return "paraphrase" if is_near else "not_found"


def _holds(text: str, quote: str) -> bool:
    """Whether a normalised text holds a quotation, whole words of it; "…" stands for words left out, in order."""
    at = 0
    for part in re.split(r"\s*(?:\[\.\.\.\]|\.\.\.|…)\s*", normalise(quote)):
        wanted = part.strip(" .,;:!?")
        found = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)").search(text, at) if wanted else None
        if found is None and wanted:
            found = re.compile(re.escape(wanted)).search(text, at) if _is_unspaced(wanted) else None
            if found is None:
                return False
        at = found.end() if found else at
    return bool(normalise(quote).strip(" .,;:!?…"))


def _is_unspaced(text: str) -> bool:
    """Whether the script puts no spaces between words, so that a quotation may begin anywhere."""
    return len(words_of(text)) > len(text.split()) and not text.isascii()


def _overlap(claim: str, passage: str) -> tuple[float, str]:
    """The share of the claim's words that the passage holds, and the longest run of words that it holds."""
    words, others = words_of(normalise(claim)), words_of(normalise(passage))
    if not words:
        return 0.0, ""
    held = set(others)
    share = sum(word in held for word in words) / len(words)
    run = SequenceMatcher(None, words, others, autojunk=False).find_longest_match()
    return round(share, 4), " ".join(words[run.a : run.a + run.size])


def _check_json(check: Check) -> dict[str, Any]:
    values = {name: getattr(check, name) for name in Check.__slots__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
