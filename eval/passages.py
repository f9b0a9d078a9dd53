"""Judgements by exact excerpt, and how well returned passages fit them: recall, precision and IoU over characters.

An excerpt is a stretch of a document's text, so it stays true however the document is cut. The definitions are the
token-wise ones of Smith and Troynikov 2024, "Evaluating Chunking Strategies for Retrieval", counted in characters,
which no tokenizer changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import InputError
from eval.trec import Qrels, read_lines

Stretch = tuple[str, int, int]  # document id, start, end: characters, half-open

MEASURES = ("recall", "precision", "IoU")
DOCUMENT_FIELDS = ("doc_id", "document_id", "document")
SHOWN = 60  # characters of a text in an error


@dataclass(frozen=True, slots=True)
class Excerpts:
    """What answers each query. `texts` holds the excerpts' own words, where the file has them."""

    by_query: Mapping[str, tuple[Stretch, ...]]
    texts: Mapping[Stretch, str]

    @property
    def document_ids(self) -> set[str]:
        """The documents that hold an excerpt."""
        return {document_id for stretches in self.by_query.values() for document_id, _, _ in stretches}

    @property
    def qrels(self) -> Qrels:
        """The same as judgements of documents: one with an excerpt is relevant, grade 1."""
        return {query_id: {key: 1 for key, _, _ in stretches} for query_id, stretches in self.by_query.items()}

    def check(self, texts: Mapping[str, str]) -> None:
        """Raises InputError where an excerpt doesn't fit its document; documents that `texts` lacks are passed over."""
        misfits = [
            (query_id, stretch, reason)
            for query_id, stretches in self.by_query.items()
            for stretch in stretches
            if stretch[0] in texts and (reason := self._misfit(stretch, texts[stretch[0]]))
        ]
        if misfits:
            query_id, (document_id, start, end), reason = misfits[0]
            n = sum(map(len, self.by_query.values()))
            raise InputError(
                f'{len(misfits)} of {n} excerpts don\'t fit the index: that of query "{query_id}" at {start}–{end} of '
                f'document "{document_id}" {reason}. Offsets count the characters of what '
                f"`limpid documents show {document_id}` prints."
            )

    def _misfit(self, stretch: Stretch, text: str) -> str:
        _, start, end = stretch
        if end > len(text):
            return f"ends beyond its {len(text)} characters"
        own = self.texts.get(stretch)
        if own is not None and own != text[start:end]:
            return f"reads {_shown(own)} in the file and {_shown(text[start:end])} in the index"
        return ""


def load_excerpts(path: str | Path) -> Excerpts:
    """Excerpts from JSON lines with `query_id`, `doc_id` (or `document_id`, `document`), `start` and `end`.

    `text`, where a line has it, is what stands there. Raises NotFound for a missing file, InputError for a line that
    is no such object, or whose offsets are no stretch of characters.
    """
    by_query: dict[str, list[Stretch]] = {}
    texts: dict[Stretch, str] = {}
    for number, line in read_lines(path):
        place = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{place}: not JSON ({error.msg}). Write one object a line.") from None
        query_id, stretch = _parse(record, place)
        stretches = by_query.setdefault(query_id, [])
        if stretch not in stretches:
            stretches.append(stretch)
        if isinstance(record.get("text"), str):
            texts[stretch] = record["text"]
    if not by_query:
        raise InputError(f"{path}: holds no excerpts. Write one JSON object per line.")
    return Excerpts({query_id: tuple(stretches) for query_id, stretches in by_query.items()}, texts)


def _parse(record: object, place: str) -> tuple[str, Stretch]:
    named = [name for name in DOCUMENT_FIELDS if isinstance(record, dict) and name in record]
    if not named or "query_id" not in record:
        raise InputError(
            f'{place}: an excerpt needs "query_id", "doc_id", "start" and "end", such as '
            '{"query_id": "q1", "doc_id": "a.md", "start": 120, "end": 180}.'
        )
    start, end = record.get("start"), record.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise InputError(
            f"{place}: start {start!r} and end {end!r} are no stretch. Give whole numbers with 0 ≤ start < end."
        )
    return str(record["query_id"]), (str(record[named[0]]), start, end)


def score(retrieved: Sequence[Stretch], excerpts: Sequence[Stretch]) -> tuple[float, float, float]:
    """Recall, precision and IoU of one query, over characters; precision and IoU are 0 where nothing is retrieved.

    Recall = found ÷ wanted, precision = found ÷ retrieved, IoU = found ÷ (retrieved + missed). What overlapping
    passages share counts once as found and as often as it was retrieved, as in the published code.
    """
    wanted = sum(end - start for _, start, end in excerpts)
    length = sum(end - start for _, start, end in retrieved)
    found = missed = 0
    for document_id, start, end in excerpts:
        near = [(first, last) for key, first, last in retrieved if key == document_id and first < end and last > start]
        if not near:
            missed += end - start
            continue
        covered = np.zeros(end - start, dtype=bool)
        for first, last in near:
            covered[max(first - start, 0) : last - start] = True
        found += int(covered.sum())
        missed += int((~covered).sum())
    return found / wanted, found / length if length else 0.0, found / (length + missed)


def names(k: int) -> tuple[str, str, str]:
    """What the measures are called for the best `k` passages: `char_recall@5`, `char_precision@5`, `char_IoU@5`."""
    recall, precision, iou = (f"char_{measure}@{k}" for measure in MEASURES)
    return recall, precision, iou


def measure_passages(
    passages: Mapping[str, Iterable[Stretch]], excerpts: Excerpts, k: int
) -> dict[str, dict[str, float]]:
    """Each measure's value for every query with excerpts: `values[name][query_id]`, names as `names(k)`.

    `passages[query_id]` are what a search returned, at most `k` of them. A query without passages scores 0 and stays.
    """
    rows = {
        query_id: score(list(passages.get(query_id, ())), stretches)
        for query_id, stretches in excerpts.by_query.items()
    }
    return {name: {key: row[place] for key, row in rows.items()} for place, name in enumerate(names(k))}


def _shown(text: str) -> str:
    line = " ".join(text[: 2 * SHOWN].split())
    return repr(line if len(line) <= SHOWN else line[:SHOWN] + "…")
