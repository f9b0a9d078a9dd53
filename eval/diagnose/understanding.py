"""Does the encoder know what the corpus' words mean? Parts of one passage should lie near without sharing a word.

A sentence that searches its own passage shares words with it, and an encoder matches their pieces even in a vocabulary
that it has never seen. So the words that a part shares with the rest are taken out: what it then still finds, it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.draws import drawn, own_draws
from eval.sample import Sample, normalized
from eval.significance import Interval, bootstrap_interval
from eval.words import words_of

N_PASSAGES = 300
MIN_PASSAGES = 30  # below it the interval says nothing
MIN_WORDS = 3  # on either side
MIN_LETTERS = 3  # of a word in an alphabet
STEM = 4  # letters at the beginning that make two words one: inflected forms share pieces as well
IDEOGRAPHS = "\u3000"  # characters from here on are words by themselves
# Probabilities below which the words are unknown. Collections that their encoder understands have .66 to .94, a
# language or vocabulary that it doesn't .45 to .59; where passages are single short messages, .66 and .45.
LIMIT, LIMIT_OF_SHORT = 0.65, 0.55
SHORT = 20  # words of a passage below which it is short

Encode = Callable[[Sequence[str]], NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class Understanding:
    """The probability that a part of a passage lies nearer to the rest of it than to another document's; ½ is chance.

    `limit` is what it has to reach, `n` the number of passages asked.
    """

    probability: Interval
    limit: float
    n: int


@dataclass(frozen=True, slots=True)
class _Part:
    words: str
    rest: str
    document_id: str
    is_short: bool


def find_understanding(sample: Sample, encode: Encode, seed: int = 0) -> Understanding | None:
    """Measured on up to 300 passages; None with fewer than 30 that can be parted.

    One sentence of a passage, or the first half of a passage of one sentence, without the words that begin like one of
    the rest (4 letters), is compared with the rest of its own passage and with those of all passages of other
    documents. The mean share of these that lie farther away is an AUROC (Mann and Whitney 1947), with a 95% bootstrap
    interval over passages. Both sides need 3 words. `encode(texts)` gives unit vectors, float, shape (n, dim).
    """
    parts = _parts(sample, seed)
    if len(parts) < MIN_PASSAGES:
        return None
    asked, rests = (normalized(np.asarray(encode([getattr(p, side) for p in parts]))) for side in ("words", "rest"))
    cosines = asked @ rests.T
    documents = np.array([part.document_id for part in parts])
    own = np.diag(cosines)[:, None]
    strange = documents[:, None] != documents
    farther = ((cosines < own) + (cosines == own) / 2) * strange
    known = strange.any(axis=1)
    if known.sum() < MIN_PASSAGES:
        return None
    shares = farther[known].sum(axis=1) / strange[known].sum(axis=1)
    short = float(np.mean([part.is_short for part in parts]))
    limit = short * LIMIT_OF_SHORT + (1 - short) * LIMIT
    return Understanding(bootstrap_interval(shares, seed=seed), limit, int(known.sum()))


def _parts(sample: Sample, seed: int) -> list[_Part]:
    found: list[_Part] = []
    place_of = {chunk.id: i for i, chunk in enumerate(sample.chunks)}
    for name in drawn(place_of, len(place_of), seed):
        if len(found) == N_PASSAGES:
            break
        i = place_of[name]
        sentences = sample.sentence_texts(i) or [sample.chunks[i].text]
        if len(sentences) > 1:
            place = own_draws(name, seed).randrange(len(sentences))
            asking, others = words_of(sentences[place]), sentences[:place] + sentences[place + 1 :]
        else:
            words = words_of(sentences[0])
            asking, others = words[: len(words) // 2], [" ".join(words[len(words) // 2 :])]
        rest = " ".join(others)
        beside = words_of(rest)
        stems = {word[:STEM] for word in beside}
        left = [word for word in asking if _counts(word) and word[:STEM] not in stems]
        if len(left) >= MIN_WORDS and sum(map(_counts, beside)) >= MIN_WORDS:
            is_short = len(asking) + len(beside) < SHORT
            found.append(_Part(" ".join(left), rest, sample.chunks[i].document_id, is_short))
    return found


def _counts(word: str) -> bool:
    return len(word) >= MIN_LETTERS or word >= IDEOGRAPHS
