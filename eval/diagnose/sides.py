"""The two sides of a chunk: where it divides best, and how much they have to do with one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from eval.sample import Sample, normalized
from eval.words import WORDS

MIN_SENTENCES = 2
SHRUNK = 0.3  # of the covariance that is replaced by its mean eigenvalue before it is inverted
N_REFERENCES = 4000  # chunks drawn to look for neighbours among; more change the features little
N_NEIGHBOURS = 10
N_OWN = 3  # nearest chunks that a side's fit to a document is read from
CHUNKS_AT_ONCE = 2000
SMALLEST = 1e-9
LEAST_BETWEEN = 1e-4  # of the variance within chunks
NAMES = (
    "contrast", "whitened contrast", "cosine", "whitened cosine", "shared words", "shared neighbours",
    "fit to the document", "nearer to another document", "likelihood ratio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sides:
    """The best two-way split of every chunk that has one; all arrays begin with (n_scored,).

    `chunks`: their places in the sample. `n_sentences`, and `left`: how many of them the left side has. `features`:
    float64, (n_scored, 9), in the order of `NAMES`, each the higher the less the sides belong together, NaN where it
    can't be told. `contrast` is the Ward contrast itself.
    """

    chunks: NDArray[np.int64]
    n_sentences: NDArray[np.int64]
    left: NDArray[np.int64]
    contrast: NDArray[np.float64]
    features: NDArray[np.float64]


class Spaces(NamedTuple):
    """What sentences of a corpus are seen against; `whiten` also turns them to the axes along which chunks differ.

    `center`: the mean sentence, float32, (dim,). `whiten`: float32, (dim, dim); whitened sentences vary by 1 within
    their chunks along every axis. `between`: variance of chunks along these axes, float32, (dim,), positive.
    """

    center: NDArray[np.float32]
    whiten: NDArray[np.float32]
    between: NDArray[np.float32]


def find_sides(sample: Sample, seed: int = 0) -> Sides:
    """The sides of every chunk of two or more sentences.

    A sentence weighs the square root of its number of words: a heading or list mark counts little, and a long one,
    which is still one noisy vector, doesn't count in proportion. All vectors are taken from the corpus' mean sentence.
    Whitened vectors are multiplied by (.7 · C + .3 · mean eigenvalue · I)^(-1/2), C being the covariance of sentences
    within their chunks (within-class covariance normalisation, Hatch, Kajarekar and Stolcke 2006): what varies inside
    any passage then counts less. The side's vectors are the weighted means of its sentences.

    contrast: log of the Ward contrast at the best split, and of that of whitened vectors. cosine: that of the sides,
    negated. shared words: their tf-idf cosine, negated. shared neighbours: how near each side is to the 10 nearest
    chunks of the other, as a share of how near that one is, negated. fit to the document: the lower of the sides'
    mean cosines to the 3 nearest other chunks of their document, negated; nearer to another document: the same less
    that to the 3 nearest chunks of other documents, negated. likelihood ratio: the highest of `likelihood_profile`.
    A chunk is divided where the sum of three profiles is highest: both contrasts, as shares of their highest, and the
    likelihood ratio, between its lowest and highest, which counts n / dim where there are fewer chunks than dimensions:
    its variances are learnt from them.
    """
    members = np.array([i for i, chunk in enumerate(sample.chunks) if len(chunk.sentences) >= MIN_SENTENCES], dtype=int)
    if not len(members):
        none = np.zeros(0, dtype=np.int64)
        return Sides(none, none, none, np.zeros(0), np.zeros((0, len(NAMES))))
    spaces = _spaces(sample, members)
    references = _References(sample, spaces.center, seed)
    trust = min(1.0, len(members) / len(spaces.center))
    features = np.full((len(members), len(NAMES)), np.nan)
    left, contrast = np.zeros(len(members), dtype=np.int64), np.zeros(len(members))
    n_sentences = np.array([len(sample.chunks[i].sentences) for i in members])
    for rows in _batches(n_sentences):
        chunks = members[rows]
        vectors = np.stack([np.asarray(sample.sentence_vectors[i], dtype=np.float32) for i in chunks]) - spaces.center
        words = [[len(WORDS.findall(text)) for text in sample.sentence_texts(i)] for i in chunks]
        weights = np.sqrt(np.maximum(words, 1))
        whitened = vectors @ spaces.whiten
        plain, white = ward_profile(vectors, weights), ward_profile(whitened, weights)
        ratio = likelihood_profile(whitened, weights, spaces.between)
        least = ratio.min(axis=1, keepdims=True)
        votes = _share(plain) + _share(white) + trust * _share(ratio - least)
        left[rows] = 1 + np.round(votes, 6).argmax(axis=1)
        contrast[rows] = plain.max(axis=1)
        is_left = np.arange(vectors.shape[1]) < left[rows][:, None]
        one, other = (normalized(np.einsum("ij,ijd->id", weights * side, vectors)) for side in (is_left, ~is_left))
        white_one, white_other = (normalized(side @ spaces.whiten) for side in (one, other))
        features[rows] = np.stack(
            [
                np.log(np.maximum(contrast[rows], SMALLEST)),
                np.log(np.maximum(white.max(axis=1), SMALLEST)),
                -np.einsum("id,id->i", one, other),
                -np.einsum("id,id->i", white_one, white_other),
                np.full(len(rows), np.nan),
                -references.shared(one, other, chunks),
                *references.fits(one, other, chunks),
                ratio.max(axis=1),
            ],
            axis=1,
        )
    features[:, NAMES.index("shared words")] = -_shared_words(sample, members, left)
    return Sides(members, n_sentences, left, contrast, features)


def ward_profile(vectors: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Ward contrast of every contiguous split, float64, shape (m, n - 1).

    `vectors`: float32, (m, n, dim); `weights`: (m, n), positive. Ward (1963): the rise of the within-group sum of
    squares when two groups are joined, w_L·w_R / w · ‖mean_L - mean_R‖², with weights divided by their mean.
    """
    left, right, left_weight, right_weight = _means(vectors, weights)
    harmonic = (left_weight * right_weight / (left_weight + right_weight))[:, :, 0]
    return harmonic * ((left - right) ** 2).sum(axis=2)


def likelihood_profile(
    whitened: NDArray[np.float32], weights: NDArray[np.float64], between: NDArray[np.float32]
) -> NDArray[np.float64]:
    """How much likelier the sides of every contiguous split are those of two chunks than of one; shape (m, n - 1).

    The log of the likelihood ratio of the two-covariance model (Brümmer and de Villiers 2010): along each axis a chunk
    has a mean drawn from N(0, `between`), and a side of n sentences the mean of n draws from N(the chunk's mean, 1). A
    side counts as many sentences as it weighs, weights divided by their mean. Arguments as for `ward_profile`.
    """
    left, right, left_weight, right_weight = _means(whitened, weights)
    of_left, of_right = between + 1 / left_weight, between + 1 / right_weight
    apart, together = of_left * of_right, of_left * of_right - between**2
    one = np.log(together) + (of_right * left**2 - 2 * between * left * right + of_left * right**2) / together
    two = np.log(apart) + left**2 / of_left + right**2 / of_right
    return (one - two).sum(axis=2, dtype=np.float64) / 2


def _means(vectors: NDArray[np.float32], weights: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
    """Of the left and right side of every split: the mean vectors, (m, n - 1, dim), and weights, (m, n - 1, 1)."""
    weights = (weights / weights.mean(axis=1, keepdims=True))[:, :, None].astype(np.float32)
    sums, weight = np.cumsum(vectors * weights, axis=1), np.cumsum(weights, axis=1)
    left_weight, right_weight = weight[:, :-1], weight[:, -1:] - weight[:, :-1]
    return sums[:, :-1] / left_weight, (sums[:, -1:] - sums[:, :-1]) / right_weight, left_weight, right_weight


def _share(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the highest value of each row."""
    return profile / np.maximum(profile.max(axis=1, keepdims=True), SMALLEST)


def _batches(n_sentences: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows of chunks with equally many sentences, not too many at once."""
    for n in np.unique(n_sentences):
        rows = np.flatnonzero(n_sentences == n)
        at_once = max(1, 4 * CHUNKS_AT_ONCE // int(n))
        yield from (rows[start : start + at_once] for start in range(0, len(rows), at_once))


def _spaces(sample: Sample, members: NDArray[np.int64]) -> Spaces:
    """Measured on the chunks in `members`."""
    dim = sample.vectors.shape[1]
    total, n = np.zeros(dim), 0
    means = np.empty((len(members), dim))
    covariance, freedom = np.zeros((dim, dim)), 0
    for start in range(0, len(members), CHUNKS_AT_ONCE):
        parts = [
            np.asarray(sample.sentence_vectors[i], dtype=np.float32) for i in members[start : start + CHUNKS_AT_ONCE]
        ]
        total += np.sum([part.sum(axis=0) for part in parts], axis=0)
        n += sum(map(len, parts))
        means[start : start + len(parts)] = [part.mean(axis=0) for part in parts]
        deviations = np.concatenate([part - part.mean(axis=0) for part in parts])
        covariance += deviations.T @ deviations
        freedom += len(deviations) - len(parts)
    covariance /= max(1, freedom)
    shrunk = (1 - SHRUNK) * covariance + SHRUNK * max(np.trace(covariance) / dim, SMALLEST) * np.eye(dim)
    values, axes = np.linalg.eigh(shrunk)
    whiten = axes / np.sqrt(values)
    spread = (means - total / n) @ whiten
    by_chance = np.mean([1 / len(sample.chunks[i].sentences) for i in members])  # means of so few sentences vary so far
    between, turn = np.linalg.eigh(spread.T @ spread / len(spread) - by_chance * np.eye(dim))
    found = total / n, whiten @ turn, np.maximum(between, LEAST_BETWEEN)
    return Spaces(*(array.astype(np.float32) for array in found))


class _References:
    """Mean sentence vectors of chunks, to say which neighbours a side has."""

    def __init__(self, sample: Sample, center: NDArray[np.float32], seed: int):
        held = np.array([i for i, vectors in enumerate(sample.sentence_vectors) if len(vectors)], dtype=int)
        means = np.zeros((len(sample), len(center)), dtype=np.float32)
        for i in held:
            means[i] = np.asarray(sample.sentence_vectors[i], dtype=np.float32).mean(axis=0) - center
        self._means = normalized(means)
        names = {name: number for number, name in enumerate(dict.fromkeys(c.document_id for c in sample.chunks))}
        self._documents = np.array([names[chunk.document_id] for chunk in sample.chunks])
        order = np.argsort(self._documents, kind="stable")
        bounds = np.searchsorted(self._documents[order], np.arange(len(names) + 1))
        self._of_document = [order[first:end] for first, end in pairwise(bounds)]
        n_drawn = min(N_REFERENCES, len(held))
        self._drawn = np.sort(np.random.default_rng(seed).choice(held, n_drawn, replace=False))

    def shared(
        self, one: NDArray[np.float32], other: NDArray[np.float32], chunks: Sequence[int]
    ) -> NDArray[np.float64]:
        """How far the sides have the same neighbours: 1 where they do, about 0 where they don't; shape (m,)."""
        near = [self._similarity(side, chunks) for side in (one, other)]
        k = min(N_NEIGHBOURS, len(self._drawn) - 1)
        if k < 1:
            return np.full(len(chunks), np.nan)
        best = [np.argpartition(-side, k - 1, axis=1)[:, :k] for side in near]
        middle = [np.median(side, axis=1) for side in near]
        shares = [
            (np.take_along_axis(near[a], best[b], axis=1).mean(axis=1) - middle[a])
            / np.maximum(np.take_along_axis(near[a], best[a], axis=1).mean(axis=1) - middle[a], 1e-3)
            for a, b in ((0, 1), (1, 0))
        ]
        return (shares[0] + shares[1]) / 2

    def fits(
        self, one: NDArray[np.float32], other: NDArray[np.float32], chunks: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`fit to the document` and `nearer to another document`, NaN for a document's only chunk; shape (m,) each."""
        fit, margin = np.full(len(chunks), np.nan), np.full(len(chunks), np.nan)
        foreign = [_highest(self._similarity(side, chunks, others_only=True)) for side in (one, other)]
        for row, chunk in enumerate(chunks):
            own = self._of_document[self._documents[chunk]]
            own = own[own != chunk]
            if not len(own):
                continue
            inside = [np.sort(self._means[own] @ side[row])[-N_OWN:].mean() for side in (one, other)]
            fit[row] = -min(inside)
            margin[row] = -min(near - highest[row] for near, highest in zip(inside, foreign, strict=True))
        return fit, margin

    def _similarity(
        self, sides: NDArray[np.float32], chunks: Sequence[int], others_only: bool = False
    ) -> NDArray[np.float32]:
        """Cosines with the chunks drawn, -1 for a chunk with itself, or with its whole document; (m, n_drawn)."""
        similarity = sides @ self._means[self._drawn].T
        if others_only:
            similarity[self._documents[chunks][:, None] == self._documents[self._drawn]] = -1
        else:
            similarity[np.asarray(chunks)[:, None] == self._drawn] = -1
        return similarity


def _highest(similarity: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each row's three highest values."""
    n = min(N_OWN, similarity.shape[1])
    return -np.partition(-similarity, n - 1, axis=1)[:, :n].mean(axis=1)


def _shared_words(sample: Sample, members: NDArray[np.int64], left: NDArray[np.int64]) -> NDArray[np.float64]:
    """The tf-idf cosine of the sides, shape (n_scored,)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    sides = []
    for i, n_left in zip(members, left, strict=True):
        texts = sample.sentence_texts(i)
        sides += [" ".join(texts[:n_left]), " ".join(texts[n_left:])]
    vectorizer = TfidfVectorizer(tokenizer=WORDS.findall, token_pattern=None, sublinear_tf=True)
    try:
        weights = csr_array(vectorizer.fit_transform(sides))
    except ValueError:  # no text holds a word
        return np.full(len(members), np.nan)
    return np.asarray(weights[::2].multiply(weights[1::2]).sum(axis=1)).ravel()
