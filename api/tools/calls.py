"""What the tools do: ask a source, and make of its answer one that fits the budget and leads on to the next page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from api.tools.parameters import (
    ContextParameters,
    ListParameters,
    ReadParameters,
    ReportParameters,
    SearchParameters,
    SimilarParameters,
)
from api.tools.rendering import CHARACTERS_PER_TOKEN, NOTICE, Answer, Budget, Entry, Form, clipped
from api.tools.sources import Source
from core.errors import InputError, NotFound

HITS, PASSAGES = Form("hits", "hit"), Form("passages", "passage")
DOCUMENTS, FINDINGS = Form("documents", "document"), Form("findings", "finding")
MOST_CHARACTERS = 200  # of a title, a heading path, a metadata value: what a reader needs to recognise it
MOST_URI_CHARACTERS = 1_000
MOST_EVIDENCE_CHARACTERS = 800
MOST_NAMED = 10  # metadata fields, terms, notes, chunks that are listed
MARGIN = 2  # characters before and after a passage to begin with, for each token of the budget
SPARE, LEAST_ROOM = 0.6, 0.2  # of the budget for a context's own text, at first and at least: its places count too


def search(source: Source, asked: SearchParameters, budget: Budget) -> Answer:
    """Passages that answer a query. Raises like `Source.search`."""
    body = {"query": asked.query, "mode": asked.mode, "filter": asked.filter}
    found = source.search(body | {"k": asked.k + 1, "offset": asked.offset})
    signals = found["signals"]
    told = {
        "confidence": signals["confidence"],
        "unknown_terms": [clipped(term, 40) for term in signals["unknown_terms"][:MOST_NAMED]],
        "notes": _notes(found),
    }
    return _page(found["hits"], asked.k, asked.offset, told, budget)


def similar(source: Source, asked: SimilarParameters, budget: Budget) -> Answer:
    """Passages like some examples and unlike others. Raises like `Source.similar`."""
    body = {"like": asked.like, "unlike": asked.unlike, "filter": asked.filter}
    found = source.similar(body | {"k": asked.offset + asked.k + 1})
    return _page(found["hits"][asked.offset :], asked.k, asked.offset, {"notes": _notes(found)}, budget)


def context(source: Source, asked: ContextParameters, budget: Budget) -> Answer:
    """The evidence for a question, chosen to fill the budget. Raises like `Source.context`."""
    body = {"query": asked.query, "mode": asked.mode, "filter": asked.filter, "format": "xml"}
    room = int(SPARE * asked.max_tokens)
    while True:
        found = source.context(body | {"max_tokens": room})
        passages = [_passage(passage, "label", "chunk_ids") for passage in found["passages"]]
        left_out = {reason: count for reason, count in found["n_left_out"].items() if count}
        make = partial(_answer, {"n_left_out": left_out, "notes": _notes(found)}, "passages")
        if budget.holds(PASSAGES, make(passages)) or room <= LEAST_ROOM * asked.max_tokens:
            return budget.fill(PASSAGES, passages, make)
        room = int(0.8 * room)


def read_document(source: Source, asked: ReadParameters, budget: Budget) -> Answer:
    """A stretch of a document's text. Raises like `Source.document`, and `InputError` beyond its end."""
    by_chunk = asked.chunk_id is not None or asked.chunk is not None
    try:
        found = source.document(asked.document_id, chunks=by_chunk)
    except NotFound:
        told = clipped(asked.document_id, MOST_CHARACTERS)
        raise NotFound(f"There is no document {told!r}. Take ids from search or list_documents, unchanged.") from None
    text = found["text"]
    told = {"n_characters": len(text), "n_chunks": found["n_chunks"]}
    title = clipped(found["title"], MOST_CHARACTERS)

    def make(passages: list[Entry]) -> Answer:
        end = passages[0].get("end", len(text)) if passages else len(text)
        return _answer(told | {"next_start": end if end < len(text) else None}, "passages", passages)

    def stretch(start: int, end: int) -> Entry:
        return {"start": start, "end": end, "title": title, "text": text[start:end]}

    start = asked.start
    if by_chunk:
        chunk = _chunk_of(found["chunks"], asked)
        start = chunk["start"]
    if asked.chunk_id is not None:
        margin = MARGIN * asked.max_tokens
        while margin > 0:
            around = make([stretch(max(0, start - margin), min(len(text), chunk["end"] + margin))])
            if budget.holds(PASSAGES, around):
                return around
            margin = int(0.7 * margin)
    if start >= max(1, len(text)):
        raise InputError(f"start is {start:,}, but the document ends at {len(text):,}. Ask for an earlier place.")
    most = start + CHARACTERS_PER_TOKEN * asked.max_tokens  # so that a book isn't counted for each of its pages
    return budget.fill(PASSAGES, [stretch(start, min(len(text), most))], make)


def list_documents(source: Source, asked: ListParameters, budget: Budget) -> Answer:
    """What documents there are, by id. Raises like `Source.page`."""
    found = source.page(asked.limit, asked.after)
    ids = [document["id"] for document in found["documents"]]
    entries = [_document(document) for document in found["documents"]]

    def make(kept: list[Entry]) -> Answer:
        goes_on = len(kept) < len(ids) or found["next"] is not None
        told = {"total": found["total"], "next_after": ids[len(kept) - 1] if kept and goes_on else None}
        return _answer(told, "documents", kept)

    return budget.fill(DOCUMENTS, entries, make)


def report(source: Source, asked: ReportParameters, budget: Budget) -> Answer:
    """The last quality report's verdict, and its findings page by page. Raises like `Source.report`."""
    kept_report = source.report()
    made = kept_report["report"]
    flags = [flag for flag in made["flags"] if asked.kind in (None, flag["kind"])]
    if asked.kind is not None and not flags:
        known = ", ".join(made["counts"]) or "none at all"
        raise NotFound(f"The report has no findings of the kind {asked.kind!r}; it has {known}.")
    told = {
        "made": kept_report["made"],
        "is_current": kept_report["is_current"],
        "verdict": made["verdict"],
        "steps": [{name: step[name] for name in ("cause", "action", "commands")} for step in made["steps"]],
        "counts": made["counts"],
    }
    entries = [_finding(flag, made["subjects"].get(flag["subject"])) for flag in flags[asked.offset :]]

    def make(kept: list[Entry]) -> Answer:
        following = asked.offset + len(kept)
        return _answer(told | {"next_offset": following if following < len(flags) else None}, "findings", kept)

    return budget.fill(FINDINGS, entries, make)


def _page(hits: Sequence[Mapping[str, Any]], k: int, offset: int, told: Answer, budget: Budget) -> Answer:
    """A page of hits, of which one more than `k` was asked for, to know whether there is another page."""
    entries = [_passage(hit, "rank", "chunk_id") for hit in hits[:k]]

    def make(kept: list[Entry]) -> Answer:
        following = offset + len(kept) if len(kept) < len(hits) else None
        return _answer(told | {"next_offset": following}, "hits", kept)

    return budget.fill(HITS, entries, make)


def _answer(told: Answer, name: str, entries: list[Entry]) -> Answer:
    """What is there to be told, with the notice first and the entries last; empty values are left out."""
    filled = {key: value for key, value in told.items() if value not in (None, [], {}, "")}
    return {"notice": NOTICE, **filled, name: entries}


def _passage(found: Mapping[str, Any], number: str, chunks: str) -> Entry:
    """A hit or a context's passage: its number, what cites it, what a reader recognises it by, its text."""
    path = " › ".join(heading for heading in found["headings"] if heading != found["title"])
    named = {
        "score": round(found["score"], 3),
        "title": clipped(found["title"], MOST_CHARACTERS),
        "headings": clipped(path, MOST_CHARACTERS),
        "place": clipped(found["place"], MOST_CHARACTERS),
        "uri": _uri(found["uri"], found["document_id"]),
        "lead": found["lead"] if len(found["lead"]) <= MOST_URI_CHARACTERS else "",
        "n_copies": len(found["also_in"]),
        "metadata": _metadata(found.get("metadata", {})),
    }
    cited = found[chunks] if isinstance(found[chunks], str) else found[chunks][:MOST_NAMED]
    return {
        number: found[number],
        "document_id": found["document_id"],
        chunks: cited,
        "start": found["start"],
        "end": found["end"],
        **{name: value for name, value in named.items() if value or name == "score"},
        "text": found["text"],
    }


def _document(found: Mapping[str, Any]) -> Entry:
    named = {
        "title": clipped(found["title"], MOST_CHARACTERS),
        "uri": _uri(found["uri"], found["id"]),
        "metadata": _metadata(found["metadata"]),
    }
    filled = {name: value for name, value in named.items() if value}
    return {"document_id": found["id"], "n_chunks": found["n_chunks"], **filled}


def _finding(flag: Mapping[str, Any], subject: Mapping[str, Any] | None) -> Entry:
    """A finding with what it is about; `subject` is the chunk that it names, None where it names something else."""
    about = {"subject": clipped(flag["subject"], MOST_CHARACTERS)}
    if subject is not None:
        about = {
            "document_id": subject["document_id"],
            "chunk_id": flag["subject"],
            "name": clipped(subject["name"], MOST_CHARACTERS),
            "place": clipped(subject["place"], MOST_CHARACTERS),
        }
    evidence = clipped(json.dumps(flag["evidence"], ensure_ascii=False), MOST_EVIDENCE_CHARACTERS)
    text = "\n".join(part for part in ((subject or {}).get("text", ""), evidence) if part not in ("", "{}"))
    named = {name: value for name, value in about.items() if value}
    return {"kind": flag["kind"], "confidence": flag["confidence"], **named, "action": flag["action"], "text": text}


def _chunk_of(chunks: Sequence[Mapping[str, Any]], asked: ReadParameters) -> Mapping[str, Any]:
    """The chunk that is asked for. Raises `NotFound` where the document has none such."""
    if asked.chunk_id is not None:
        for chunk in chunks:
            if chunk["chunk_id"] == asked.chunk_id:
                return chunk
        told = clipped(asked.chunk_id, 100)
        raise NotFound(f"The document has no chunk {told!r}. Search again: it may have changed.")
    if asked.chunk is None or asked.chunk >= len(chunks):
        raise NotFound(f"The document has {len(chunks):,} chunks, counted from 0: there is no chunk {asked.chunk}.")
    return chunks[asked.chunk]


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Few and short: what a reader recognises a document by, and what a filter could use."""
    single = [(name, value) for name, value in metadata.items() if not isinstance(value, list)][:MOST_NAMED]
    return {clipped(name, 40): clipped(value, 80) if isinstance(value, str) else value for name, value in single}


def _uri(uri: str, document_id: str) -> str:
    """The address where it says more than the id, and isn't so long that it says nothing."""
    return uri if uri != document_id and len(uri) <= MOST_URI_CHARACTERS else ""


def _notes(found: Mapping[str, Any]) -> list[str]:
    return [clipped(note, MOST_CHARACTERS * 2) for note in found.get("notes", ())][:MOST_NAMED]
