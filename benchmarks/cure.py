"""What splitting muddy chunks gives back: recall of the answers before the mud, in it, and after `limpid fix`.

Some of the chunks that hold an answer (`excerpts.jsonl`), up to a tenth of all, are cut in two, and the part with the
answer, half of the chunk or 70%, goes on with text of another document, which leaves its own place. So the words of
the corpus stay the same, and a joined chunk is as long as others. Recall@5 is the share of a question's answers whose
chunk is among the first five, averaged over the questions all of whose answers stand in joined chunks. Compared are

- clean: the parts by themselves; muddied: joined,
- fixed: all that the product's own detector is sure enough of (false alarms too) is split where it says, by the
  product's own fix,
- placed: every joined chunk is split where the detector says, flagged or not,
- middle and seam: every joined chunk is split at the sentence nearest to its middle, and where it was joined.

Of the recall that mud took, "regained" is the share that a split gives back. The default collections are those below
$LIMPID_COLLECTIONS with excerpts; a collection's folder holds corpus.jsonl, queries.jsonl and excerpts.jsonl.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np

import ingest.writer
from api.fixing import SURE
from benchmarks.chunking import FILES, Question, load_questions
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from core.index import Index, open_index
from core.settings import Settings
from core.tokens import EncoderTokenizer, LlmTokenizer
from core.types import Chunk, Document
from eval.diagnose import find_muddy
from eval.sample import Sample, collect
from eval.significance import paired_randomization
from ingest.chunkers.measure import TokenRuler
from ingest.chunkers.passages import ChunkWriter, Passage
from ingest.fixing import split
from ingest.pipeline import ingest as bring_in_step
from ingest.pipeline import reingest
from ingest.sources import discover
from ingest.structure import Blocks
from search.retriever import Retriever

NAMES = ("chunking_evaluation", "libafl_code", "xquad_en")
TOLERANCE = 0.25  # of a share or a length: sentences end where they end
PREVALENCE = 0.1  # of joined chunks: with many more, muddy is what is normal here
SHARES = (0.5, 0.7)
MODES = ("dense", "hybrid")
K = 5
AIM = 0.95
SPLITS = ("fixed", "placed", "middle", "seam")
COUNTS = ("n_questions", "n_joined", "n_flagged", "n_false", "n_chunks", "near", "seconds")
GAP = "\n\n"

Stretch = tuple[str, int, int]  # document id, start, end
Places = dict[str, list[int]]


@dataclass(slots=True)
class Layout:
    """Documents put together from stretches of a corpus; `chunks[id]` are lists of stretches, one list a chunk.

    `seams` are characters of the new documents at which the second stretch of a chunk begins, by document id.
    """

    chunks: dict[str, list[list[Stretch]]]
    documents: list[Document] = field(default_factory=list)
    bounds: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    placed: dict[str, list[tuple[int, int, str, int]]] = field(default_factory=dict)
    seams: Places = field(default_factory=dict)

    @classmethod
    def of(cls, chunks: dict[str, list[list[Stretch]]], corpus: Mapping[str, Document]) -> Layout:
        """The documents that these chunks make up, one below the other."""
        layout = cls(chunks)
        for document_id, lists in chunks.items():
            parts: list[str] = []
            at = 0
            layout.bounds[document_id] = []
            for stretches in lists:
                begun = at
                for number, (source, start, end) in enumerate(stretches):
                    if number:
                        layout.seams.setdefault(document_id, []).append(at)
                    layout.placed.setdefault(source, []).append((start, end, document_id, at))
                    parts.append(corpus[source].text[start:end])
                    at += end - start + len(GAP)
                layout.bounds[document_id].append((begun, at - len(GAP)))
            known = corpus[document_id]
            layout.documents.append(
                Document(document_id, known.uri, known.title, GAP.join(parts), "", has_own_title=known.has_own_title)
            )
        return layout

    def find(self, source: str, start: int, end: int) -> Stretch | None:
        """Where most of a stretch of the corpus stands now."""
        overlaps = [
            (min(end, stop) - max(start, begun), document_id, at + max(start, begun) - begun)
            for begun, stop, document_id, at in self.placed.get(source, ())
        ]
        length, document_id, at = max(overlaps, default=(0, "", 0))
        return (document_id, at, at + length) if length > 0 else None


class LaidOut:
    """A chunker that cuts documents as a layout says. See `ingest.chunkers.Chunker`."""

    def __init__(self, layout: Layout, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer):
        self._layout = layout
        self._tokenizer = tokenizer
        self._writer = ChunkWriter(tokenizer, llm_tokenizer)

    def texts(self, document: Document, blocks: Blocks) -> list[str]:
        """Nothing."""
        return []

    def chunk(self, document: Document, blocks: Blocks, vectors: Mapping[str, np.ndarray]) -> list[Chunk]:
        """The layout's chunks; joined ones have the title and no headings."""
        ruler = TokenRuler(document.text, self._tokenizer)
        passages = [Passage((), start, end) for start, end in self._layout.bounds[document.id]]
        return self._writer.write(document, blocks, ruler, passages)


@dataclass(frozen=True, slots=True)
class Scored:
    """Recall@5 by condition and mode, float64, shape (n_questions,); `is_flagged` tells of each question's answers."""

    recall: dict[tuple[str, str], np.ndarray]
    is_flagged: np.ndarray
    n_questions: int
    n_joined: int
    n_flagged: int
    n_false: int
    n_chunks: int
    near: float  # of the flagged joined chunks, those split within one sentence of the seam
    seconds: float


def main() -> None:
    """Join, search, fix, search, print, write; without a collection it says so and ends well."""
    parser = arguments("cure", __doc__)
    parser.add_argument("collections", type=Path, nargs="*", help=f"folders [those of {', '.join(NAMES)}]")
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES), help="of the answer in its chunk")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folders = _collections(args.collections)
    if not folders:
        return
    figures: list[Figure] = []
    details = []
    for folder in folders:
        with tempfile.TemporaryDirectory() as place:
            scored = {share: measure(folder, share, args.seed, Path(place)) for share in args.shares}
        for share, found in scored.items():
            figures += _figures(folder.name, share, found)
            details.append(_details(folder.name, share, found))
    notes = [
        "Recall@5 of the chunks that hold the answers; regained is the share of the recall lost to mud. "
        "On flagged: only questions all of whose answers stand in chunks that the detector flagged."
    ]
    publish(Report("cure", command_line(parser, args), figures, notes, (), {"runs": details}), args.out)


def measure(collection: Path, share: float, seed: int, place: Path) -> Scored:
    """All conditions on one collection, the answer making up `share` of a joined chunk."""
    begun = time.monotonic()
    settings = Settings(index=str(place / "corpus"), shared_by=1_000_000)
    with open_index(settings, create=True) as index:
        bring_in_step(index, discover([str(collection / "corpus.jsonl")]), settings)
        corpus = {record.id: index.store.record(record.id).document for record in index.store.records()}
        chunks = sorted((stored.chunk for stored in index.scan()), key=lambda chunk: (chunk.document_id, chunk.start))
    questions = load_questions(collection)
    clean, muddied, questions = lay_out(corpus, chunks, questions, share, random.Random(seed))
    recall: dict[tuple[str, str], np.ndarray] = {}
    with _built(clean, settings, place / f"clean-{share}") as index:
        recall |= _searched("clean", index, clean, questions)
    base = place / f"muddied-{share}"
    with _built(muddied, settings, base) as index:
        recall |= _searched("muddied", index, muddied, questions)
        sample = collect(
            ((stored.chunk, stored.dense, stored.sentences) for stored in index.scan()),
            index.embedder.tokenizer.max_tokens,
        )
    found = find_muddy(sample)
    joined = _joined(sample, muddied)
    sure = {flag.subject: flag for flag in found.flags if flag.confidence >= SURE}
    scores = {chunk.id: row for chunk, row in zip(sample.chunks, found.scores["muddy"], strict=True)}
    places = {
        "fixed": _places(sample, {key: flag.evidence["split_at"] for key, flag in sure.items()}),
        "placed": _places(sample, {key: scores[key]["split_at"] for key in joined}),
        "middle": _places(sample, {c.id: _middle(c) for c in sample.chunks if c.id in joined}),
        "seam": muddied.seams,
    }
    for name in SPLITS:
        copy = place / f"{name}-{share}"
        shutil.copytree(base, copy)
        at = settings.model_copy(update={"index": str(copy)})
        with open_index(at) as index:
            split(index, places[name], at)
            recall |= _searched(name, index, muddied, questions)
        shutil.rmtree(copy)
    return Scored(
        recall=recall,
        is_flagged=_is_flagged(questions, muddied, sample, sure.keys()),
        n_questions=len(questions),
        n_joined=len(joined),
        n_flagged=len(joined.keys() & sure.keys()),
        n_false=len(sure.keys() - joined.keys()),
        n_chunks=len(sample),
        near=_near(sample, joined, {key: flag.evidence["split_at"] for key, flag in sure.items()}),
        seconds=time.monotonic() - begun,
    )


def lay_out(
    corpus: Mapping[str, Document],
    chunks: Sequence[Chunk],
    questions: Sequence[Question],
    share: float,
    rng: random.Random,
) -> tuple[Layout, Layout, list[Question]]:
    """The corpus as it is, the same with joined chunks, and the questions whose answers all stand in these."""
    by_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk)
    held: dict[str, list[Stretch]] = {}
    answers: dict[str, set[str]] = {}
    for question in questions:
        for source, start, end in question.excerpts:
            holder = _holder(by_document[source], start, end)
            held.setdefault(holder.id, []).append((source, max(start, holder.start), min(end, holder.end)))
            answers.setdefault(question.text, set()).add(holder.id)
    by_id = {chunk.id: chunk for chunk in chunks}
    clean = {chunk.id: [[(chunk.document_id, chunk.start, chunk.end)]] for chunk in chunks}
    laid, joined = dict(clean), set()
    free = [chunk for chunk in rng.sample(chunks, len(chunks)) if chunk.id not in held]
    free += [chunk for chunk in rng.sample(chunks, len(chunks)) if chunk.id in held]  # where all hold answers
    for wanted in rng.sample(list(answers.values()), len(answers)):
        for key in sorted(wanted):
            if len(joined) < PREVALENCE * len(chunks) and len(clean[key]) == 1:
                joined |= _join(by_id[key], free, held, clean, laid, share)

    def layout(chosen: Mapping[str, list[list[Stretch]]]) -> Layout:
        lists = {key: [part for chunk in found for part in chosen[chunk.id]] for key, found in by_document.items()}
        return Layout.of({key: found for key, found in lists.items() if found}, corpus)

    return layout(clean), layout(laid), [q for q in questions if answers[q.text] <= joined]


def _join(
    chunk: Chunk,
    free: list[Chunk],
    held: Mapping[str, list[Stretch]],
    clean: dict[str, list[list[Stretch]]],
    laid: dict[str, list[list[Stretch]]],
    share: float,
) -> set[str]:
    """Lay out a chunk with text of the first chunk in `free` that it can have some of; its id where there is one."""
    parts = _cut(chunk, share, held.get(chunk.id, []))
    if parts is None:
        return set()
    answer, rest, is_first = parts
    length = rest[2] - rest[1]
    for other in free:
        found = other.document_id != chunk.document_id and len(clean[other.id]) == 1 and _lent(other, length)
        if found:
            lent, left = found
            free.remove(other)
            clean[other.id], laid[other.id] = [[lent], [left]], [[left]]
            joined = [answer, lent] if is_first else [lent, answer]
            laid[chunk.id] = [joined, [rest]] if is_first else [[rest], joined]
            clean[chunk.id] = [[answer], [rest]] if is_first else [[rest], [answer]]
            return {chunk.id}
    return set()


def _cut(chunk: Chunk, share: float, answers: Sequence[Stretch]) -> tuple[Stretch, Stretch, bool] | None:
    """The part of a chunk with the answers, some `share` of it, what is left, and whether the part comes first.

    None where no sentence begins near enough to the place, or an answer would be cut.
    """
    source, length, options = chunk.document_id, chunk.end - chunk.start, []
    for last, following in pairwise(chunk.sentences):
        parts = (source, chunk.start, last.end), (source, following.start, chunk.end)
        for is_first in (True, False):
            kept, left = parts if is_first else parts[::-1]
            if all(start >= kept[1] and end <= kept[2] for _, start, end in answers):
                options.append((abs((kept[2] - kept[1]) / length - share), kept, left, is_first))
    best = min(options, default=None)
    return best[1:] if best and best[0] <= TOLERANCE else None


def _lent(chunk: Chunk, length: int) -> tuple[Stretch, Stretch] | None:
    """The first sentences of a chunk that are about `length` characters together, and those that it keeps."""
    source = chunk.document_id
    for last, following in pairwise(chunk.sentences):
        if abs(last.end - chunk.start - length) <= TOLERANCE * length:
            return (source, chunk.start, last.end), (source, following.start, chunk.end)
    return None


def _holder(chunks: Sequence[Chunk], start: int, end: int) -> Chunk:
    """The chunk that holds most of a stretch."""
    return max(chunks, key=lambda chunk: min(end, chunk.end) - max(start, chunk.start))


@contextmanager
def _built(layout: Layout, settings: Settings, folder: Path) -> Iterator[Index]:
    """An index of a layout, made by the product with the layout in the place of its chunker."""
    at = settings.model_copy(update={"index": str(folder)})

    def chunker(name: str, n_tokens: int, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer) -> LaidOut:
        return LaidOut(layout, tokenizer, llm_tokenizer)

    with open_index(at, create=True) as index:
        with mock.patch.object(ingest.writer, "open_chunker", chunker):
            reingest(index, layout.documents, at)
        yield index


def _searched(
    name: str, index: Index, layout: Layout, questions: Sequence[Question]
) -> dict[tuple[str, str], np.ndarray]:
    held: dict[str, list[Chunk]] = {}
    for batch in index.store.scan():
        for stored in batch:
            held.setdefault(stored.chunk.document_id, []).append(stored.chunk)
    retriever = Retriever(index)
    recall: dict[tuple[str, str], list[float]] = {(name, mode): [] for mode in MODES}
    for question in questions:
        wanted = {
            _holder(held[now[0]], now[1], now[2]).id
            for excerpt in question.excerpts
            if (now := layout.find(*excerpt)) is not None
        }
        for mode in MODES:
            hits = {hit.chunk.id for hit in retriever.search(question.text, K, mode).hits}
            recall[name, mode].append(len(wanted & hits) / len(wanted))
    return {key: np.array(values) for key, values in recall.items()}


def _joined(sample: Sample, layout: Layout) -> dict[str, int]:
    """The joined chunks by id, each with its seam."""
    found = {}
    for chunk in sample.chunks:
        seams = sorted(layout.seams.get(chunk.document_id, ()))
        place = bisect_left(seams, chunk.start)
        if place < len(seams) and seams[place] < chunk.end:
            found[chunk.id] = seams[place]
    return found


def _places(sample: Sample, split_at: Mapping[str, int | None]) -> Places:
    places: Places = {}
    for chunk in sample.chunks:
        if (place := split_at.get(chunk.id)) is not None:
            places.setdefault(chunk.document_id, []).append(place)
    return places


def _middle(chunk: Chunk) -> int | None:
    """Where the sentence begins that is nearest to the middle."""
    middle = (chunk.start + chunk.end) / 2
    return min((span.start for span in chunk.sentences[1:]), key=lambda at: abs(at - middle), default=None)


def _is_flagged(questions: Sequence[Question], layout: Layout, sample: Sample, flagged: Sequence[str]) -> np.ndarray:
    held: dict[str, list[Chunk]] = {}
    for chunk in sample.chunks:
        held.setdefault(chunk.document_id, []).append(chunk)
    rows = []
    for question in questions:
        found = [now for excerpt in question.excerpts if (now := layout.find(*excerpt)) is not None]
        rows.append(all(_holder(held[key], start, end).id in flagged for key, start, end in found))
    return np.array(rows)


def _near(sample: Sample, joined: Mapping[str, int], split_at: Mapping[str, int]) -> float:
    """Of the joined chunks that are split, the share whose split is at most one sentence off the seam."""
    near = []
    for chunk in sample.chunks:
        if chunk.id in joined and chunk.id in split_at:
            starts = [span.start for span in chunk.sentences]
            near.append(abs(bisect_left(starts, split_at[chunk.id]) - bisect_left(starts, joined[chunk.id])) <= 1)
    return float(np.mean(near)) if near else 0.0


def _regained(scored: Scored, name: str, mode: str, chosen: np.ndarray) -> tuple[float, float | None]:
    """Recall@5 of a condition, and the share of the lost recall that it gives back, None where none was lost."""
    value, clean, muddied = (scored.recall[key, mode][chosen].mean() for key in (name, "clean", "muddied"))
    lost = clean - muddied
    return float(value), float((value - muddied) / lost) if lost > 0 else None


def _figures(collection: str, share: float, scored: Scored) -> Iterator[Figure]:
    everything = np.ones(len(scored.is_flagged), dtype=bool)
    groups = {"all": everything, "flagged": scored.is_flagged}
    for mode in MODES:
        clean, muddied = (scored.recall[key, mode] for key in ("clean", "muddied"))
        yield Figure(
            f"{collection}, {share:.0%}, {mode}: muddied",
            f"{muddied.mean():.3f}",
            f"clean {clean.mean():.3f}, p = {paired_randomization(clean, muddied):.4f}",
            value=float(muddied.mean()),
        )
        for name in SPLITS:
            for group, chosen in groups.items():
                if (group == "flagged" and name != "fixed") or not chosen.any():
                    continue
                value, regained = _regained(scored, name, mode, chosen)
                is_aimed = name == "fixed" and regained is not None
                given_back = "nothing was lost" if regained is None else f"{regained:.0%} regained"
                yield Figure(
                    f"{collection}, {share:.0%}, {mode}: {name}, {group} {chosen.sum()} questions",
                    f"{value:.3f}, {given_back}",
                    f"clean {clean[chosen].mean():.3f}, muddied {muddied[chosen].mean():.3f}",
                    aim=f"≥ {AIM:.0%} regained" if is_aimed else "–",
                    met=regained >= AIM if is_aimed else None,
                    value=regained,
                )
    yield Figure(
        f"{collection}, {share:.0%}: joined chunks that were flagged",
        f"{scored.n_flagged} of {scored.n_joined}, {scored.near:.0%} split within a sentence of the seam",
        f"{scored.n_false} of {scored.n_chunks - scored.n_joined:,} others flagged",
        value=scored.n_flagged / max(1, scored.n_joined),
    )


def _details(collection: str, share: float, scored: Scored) -> dict:
    means = {f"{name}, {mode}": float(values.mean()) for (name, mode), values in scored.recall.items()}
    counts = {name: getattr(scored, name) for name in COUNTS}
    return {"collection": collection, "share": share, "recall@5": means, **counts}


def _collections(named: Sequence[Path]) -> list[Path]:
    """The folders to measure on; what can't be used is said."""
    root = os.environ.get("LIMPID_COLLECTIONS")
    if not named and not root:
        print("cure: skipped, no collection is named: give folders, or set LIMPID_COLLECTIONS.")
        return []
    usable = []
    for folder in named or [Path(root) / name for name in NAMES]:
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            print(f"cure: skipped, {folder} has no {', '.join(missing)}.")
        else:
            usable.append(folder)
    return usable


if __name__ == "__main__":
    main()
