"""Search results as JSON values, the same for the command line and HTTP."""

from __future__ import annotations

from core.types import Hit, LegScore
from search.retriever import Results


def results_json(results: Results, *, explain: bool = False) -> dict:
    """The contract's form of a search; `explain` adds what fusion made of each leg and the matched terms."""
    answer: dict = {
        "query": results.query,
        "mode": results.mode,
        "took_ms": round(results.took_ms, 2),
        "hits": [hit_json(hit, explain=explain) for hit in results.hits],
    }
    answer["signals"] = {
        "confidence": None if results.signals.confidence is None else round(results.signals.confidence, 4),
        "far": results.signals.is_far,
        "unknown_terms": list(results.signals.unknown_terms),
        "legs_disagree": results.signals.legs_disagree,
    }
    if results.notes:
        answer["notes"] = list(results.notes)
    if explain:
        answer["fusion"] = results.fusion
    return answer


def hit_json(hit: Hit, *, explain: bool = False) -> dict:
    """One hit in the contract's form."""
    chunk = hit.chunk
    passage = hit.passage or chunk
    answer: dict = {
        "rank": hit.rank,
        "score": hit.score,
        "document_id": chunk.document_id,
        "chunk_id": chunk.id,
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
        "page": passage.page,
        "last_page": passage.last_page,
        "place": passage.place,
        "title": chunk.title,
        "headings": list(chunk.headings),
        "uri": chunk.uri,
        "metadata": dict(chunk.metadata),
        "lead": chunk.lead,
        "also_in": list(chunk.also_in),
        "best_sentence": None,
        "legs": {name: _leg(leg, explain) for name, leg in hit.legs.items()},
    }
    if hit.n_more is not None:
        answer["n_more"] = hit.n_more
    if hit.reranked:
        answer["rerank"] = {"score": hit.reranked.score, "rank_before": hit.reranked.rank_before}
    if hit.best_sentence:
        start, end = hit.best_sentence.start, hit.best_sentence.end
        text = chunk.between(start, end)
        answer["best_sentence"] = {"start": start, "end": end, "text": text}
    if explain:
        answer["explain"] = {
            "chunk_cosine": hit.cosine,
            "sentence_cosine": hit.sentence_cosine,
            "matched_terms": list(hit.matched_terms),
        }
    return answer


def _leg(leg: LegScore, explain: bool) -> dict:
    answer = {"rank": leg.rank, "score": leg.score}
    if explain:
        answer |= {"normalized": leg.normalized, "found": leg.found}
    return answer
