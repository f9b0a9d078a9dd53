"""A synthetic corpus of any size: clustered vectors and Zipf text, the same for the same seed, made batch by batch.

Vectors are 2,000 random directions plus noise, normalised: neighbours in a cluster have cosines near ½, as passages
on one topic have, and are as hard to tell apart. Words follow Zipf and Mandelbrot, p(rank) ∝ 1 / (rank + 30): the
shift stands for the stop words that an analyser removes, so the commonest word is in about four passages of ten.
Every word is one term to our analyser and to one that splits at spaces, so that all BM25s see the same terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

from core.sparse import Analyzer, SparseVector
from core.store import EmbeddedChunk
from core.types import Chunk, DocumentRecord, Span

N_CENTRES, NOISE, SENTENCE_NOISE = 2_000, 1.0, 0.7  # noise by its length; a centre has length 1
N_WORDS, SHIFT = 50_000, 30
CHUNKS_PER_DOCUMENT, BATCH = 10, 250
SENTENCES = (4, 8)  # to a chunk, about 6 …
WORDS_PER_SENTENCE = (14, 26)  # … of about 20 words
QUERY_WORDS = (2, 6)
_SYLLABLES = [first + vowel for first in "bdfgklmnprtvz" for vowel in "aiou"]


@dataclass(frozen=True, slots=True)
class Query:
    """Words of one passage, and a vector from the cluster of that passage."""

    text: str
    vector: np.ndarray


@dataclass(frozen=True)
class SyntheticCorpus:
    """`n` chunks of `dimension` dimensions."""

    n: int
    dimension: int = 384
    seed: int = 0

    @property
    def n_batches(self) -> int:
        """Batches of up to `BATCH` chunks."""
        return -(-self.n // BATCH)

    @cached_property
    def words(self) -> list[str]:
        """50,000 made-up words, each one term of its own to the English analyser."""
        analyzer = Analyzer("english", 1.2, 0.75, 1.0)
        rng = np.random.default_rng([self.seed, 1])
        found: dict[int, str] = {}
        while len(found) < N_WORDS:
            word = "".join(_SYLLABLES[i] for i in rng.integers(len(_SYLLABLES), size=rng.integers(2, 5))) + "x"
            for index in analyzer.query(word).indices:
                found.setdefault(index, word)
        return list(found.values())

    def vectors(self, batch: int) -> np.ndarray:
        """Chunk vectors of one batch, float32, shape (n_chunks, dimension), rows of length 1."""
        rng = np.random.default_rng([self.seed, 2, batch])
        labels = rng.integers(N_CENTRES, size=self._size(batch))
        return _near(self._centres[labels], NOISE, rng)

    def texts(self, batch: int) -> list[list[str]]:
        """Sentences of every chunk of one batch."""
        rng = np.random.default_rng([self.seed, 3, batch])
        return [
            [self._sentence(rng) for _ in range(rng.integers(SENTENCES[0], SENTENCES[1] + 1))]
            for _ in range(self._size(batch))
        ]

    def chunks(self, batch: int) -> Iterator[tuple[Chunk, DocumentRecord | None]]:
        """Chunks of one batch; each document's record comes with its last chunk. Records have no term counts yet."""
        texts = self.texts(batch)
        rng = np.random.default_rng([self.seed, 4, batch])
        for first in range(0, len(texts), CHUNKS_PER_DOCUMENT):
            title, heading = " ".join(self._draw(3, rng)), " ".join(self._draw(2, rng))
            yield from _document(
                self, batch * BATCH + first, title, heading, texts[first : first + CHUNKS_PER_DOCUMENT]
            )

    def lexical_texts(self) -> list[str]:
        """What BM25 reads, of all chunks."""
        return [chunk.lexical_text for batch in range(self.n_batches) for chunk, _ in self.chunks(batch)]

    def embedded(self, batch: int, analyzer: Analyzer) -> tuple[list[EmbeddedChunk], list[DocumentRecord]]:
        """One batch ready to be written."""
        dense = self.vectors(batch)
        rng = np.random.default_rng([self.seed, 5, batch])
        made, records = [], []
        for row, (chunk, record) in enumerate(self.chunks(batch)):
            around = np.repeat(dense[row : row + 1], len(chunk.sentences), axis=0)
            sentences = _near(around, SENTENCE_NOISE, rng)
            sparse = analyzer.document(chunk.lexical_text) if chunk.text else SparseVector([], [])
            made.append(EmbeddedChunk(chunk, "synthetic", dense[row], sentences, sparse))
            if record:
                records.append(record)
        return made, records

    def queries(self, n: int) -> list[Query]:
        """Queries of 2 to 6 words drawn from one passage each, with a vector from the same cluster."""
        rng = np.random.default_rng([self.seed, 6])
        batches = rng.choice(self.n_batches, size=min(self.n_batches, 20), replace=False)
        made = []
        pools = [(self.texts(batch), np.random.default_rng([self.seed, 2, batch])) for batch in batches]
        labelled = [(texts, draw.integers(N_CENTRES, size=len(texts))) for texts, draw in pools]
        for at in range(n):
            texts, labels = labelled[at % len(labelled)]
            row = int(rng.integers(len(texts)))
            words = sorted({word.strip(".").lower() for sentence in texts[row] for word in sentence.split()})
            chosen = rng.choice(words, size=rng.integers(QUERY_WORDS[0], QUERY_WORDS[1] + 1), replace=False)
            made.append(Query(" ".join(map(str, chosen)), _near(self._centres[labels[row]][None], NOISE, rng)[0]))
        return made

    def chunk_id(self, position: int) -> str:
        """The id of the chunk at a position in the corpus."""
        return f"{int.from_bytes(blake2b(f'{self.seed}:{position}'.encode(), digest_size=8).digest()) >> 1:016x}"

    def nearest(self, vectors: Sequence[np.ndarray], k: int) -> list[set[str]]:
        """Ids of the `k` chunks nearest to each vector, by brute force."""
        asked = np.stack(vectors)
        scores = np.concatenate([self.vectors(batch) @ asked.T for batch in range(self.n_batches)])
        best = np.argpartition(-scores, k, axis=0)[:k]
        return [{self.chunk_id(int(row)) for row in column} for column in best.T]

    @cached_property
    def _centres(self) -> np.ndarray:
        centres = np.random.default_rng([self.seed, 0]).standard_normal((N_CENTRES, self.dimension), dtype=np.float32)
        return centres / np.linalg.norm(centres, axis=1, keepdims=True)

    @cached_property
    def _cumulative(self) -> np.ndarray:
        weights = np.cumsum(1 / (np.arange(N_WORDS) + 1 + SHIFT))
        return weights / weights[-1]

    def _size(self, batch: int) -> int:
        return min(BATCH, self.n - batch * BATCH)

    def _draw(self, n_words: int, rng: np.random.Generator) -> list[str]:
        ranks = np.searchsorted(self._cumulative, rng.random(n_words), side="right")
        return [self.words[rank] for rank in np.minimum(ranks, N_WORDS - 1)]

    def _sentence(self, rng: np.random.Generator) -> str:
        return " ".join(self._draw(rng.integers(*WORDS_PER_SENTENCE, endpoint=True), rng)).capitalize() + "."


def _near(centres: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Points around given ones, noise of about the given length added, normalised."""
    scale = np.float32(noise / np.sqrt(centres.shape[1]))
    points = centres + scale * rng.standard_normal(centres.shape, dtype=np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _document(
    corpus: SyntheticCorpus, first: int, title: str, heading: str, texts: list[list[str]]
) -> Iterator[tuple[Chunk, DocumentRecord | None]]:
    """The chunks of one document that begins at position `first` of the corpus; the last one comes with the record."""
    document_id, uri = f"document-{first}", f"file:///synthetic/{first}.txt"
    whole = "\n\n".join(" ".join(sentences) for sentences in texts)
    start = 0
    for position, sentences in enumerate(texts):
        text = " ".join(sentences)
        spans, at = [], start
        for sentence in sentences:
            spans.append(Span(at, at + len(sentence)))
            at += len(sentence) + 1
        chunk = Chunk(
            id=corpus.chunk_id(first + position),
            document_id=document_id,
            position=position,
            start=start,
            end=start + len(text),
            text=text,
            uri=uri,
            title=title,
            headings=(title, heading),
            context=f"{title}\n{heading}",
            sentences=tuple(spans),
            encoder_tokens=200,
            llm_tokens=180,
            metadata={"year": 2000 + first % 25},
        )
        start += len(text) + 2
        is_last = position == len(texts) - 1
        yield chunk, _record(document_id, uri, title, whole, len(texts)) if is_last else None


def _record(document_id: str, uri: str, title: str, text: str, n_chunks: int) -> DocumentRecord:
    return DocumentRecord(document_id, uri, title, "synthetic", "synthetic", n_chunks, n_chunks * 125, text=text)
