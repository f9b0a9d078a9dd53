"""Why a judged query fared badly: causes that are checked against the index, each with its evidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.types import Chunk
from eval.causes import (
    N_SHOWN,
    VISIBLE_RANKS,
    Cause,
    HardQuery,
    causes_by_runs,
    fundamental,
    legs_disagree,
    outranked,
    severity,
)
from eval.diagnose.finding import opening
from eval.inspection import LEGS, Answer, Inspection, Wanted, coverage
from eval.passages import Stretch

N_CROWD = VISIBLE_RANKS // 2  # neighbours of the answer among them that make a crowd
REPEATED = 0.5  # share of an answer's wording in another passage that makes that one a near duplicate
SHINGLE = 9  # characters (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.2.2); needs no words
MIN_SHINGLES = 60  # of an answer; less is a heading, which others repeat without being copies


def causes_in_index(
    queries: Sequence[HardQuery],
    inspection: Inspection,
    known: Collection[str],
    visible: int = VISIBLE_RANKS,
    returned: Mapping[str, Sequence[Stretch]] | None = None,
) -> list[list[Cause]]:
    """The causes of every query, most severe first; each list has at least one.

    `visible` is the number of ranks that a reader sees; `returned` are the passages that the leading mode returned for
    each query, where excerpts are judged.
    """
    returned = returned or {}
    known = set(known)
    first = [fundamental(query, known) for query in queries]
    answers: list[list[Answer]] = []
    for query, found in zip(queries, first, strict=True):
        wanted = inspection.wanted(query.relevant & known, query.stretches) if query.text else []
        missing = [one for one in wanted if not one.chunks and one.document_id in known]
        if missing and not any(cause.cause == "not_indexed" for cause in found):
            found.append(_without_chunk(missing, len(wanted)))
        passages = returned.get(query.query_id, ())
        answers.append(inspection.answers(query.text or "", wanted, query.leading, visible, passages))
    muddy = inspection.muddy([answer for found in answers for answer in found])
    listed = []
    for query, found, missed in zip(queries, first, answers, strict=True):
        causes = list(found)
        if missed:
            causes += _Case(query, inspection, muddy, visible, returned.get(query.query_id, ())).causes(missed)
        elif not causes:
            causes = causes_by_runs(query, known)
        listed.append(sorted(causes, key=severity))
    return listed


@dataclass(frozen=True, slots=True)
class _Case:
    """One query whose answers were found in the index."""

    query: HardQuery
    inspection: Inspection
    muddy: Mapping[str, Mapping[str, object]]
    visible: int
    returned: Sequence[Stretch]

    def causes(self, answers: Sequence[Answer]) -> list[Cause]:
        """Each kind at most once, of the best placed answer that shows it."""
        checks = (
            self._truncated,
            self._partly_returned,
            self._near_duplicates,
            self._muddied,
            self._far,
            self._no_shared_words,
            self._disagreeing,
            self._crowded,
        )
        found = [next((cause for answer in answers if (cause := check(answer))), None) for check in checks]
        listed = [cause for cause in (self._unknown_terms(), *found) if cause]
        return listed or [self._without_reason(answers)]

    def _without_reason(self, answers: Sequence[Answer]) -> Cause:
        first, leading = answers[0], self.query.leading
        kind = "passage with the answer" if first.wanted.stretch else "relevant document"
        rank = first.ranks[leading]
        says = (
            f"a {kind} isn't among the candidates of {leading}: others match better"
            if rank is None
            else f"a {kind} is at rank {rank} of {leading}, below others that match better"
            if rank > 1
            else f"a {kind} is first, but it isn't all that answers"
        )
        return outranked(says, self._place(first) | {"above": _shown(first)})

    def _place(self, answer: Answer) -> dict[str, Any]:
        return {
            "document_id": answer.chunk.document_id,
            "chunk_id": answer.chunk.id,
            "text": opening(answer.chunk.text),
            "ranks": dict(answer.ranks),
            "cosine": answer.cosine,
        }

    def _truncated(self, answer: Answer) -> Cause | None:
        """The encoder read a part of the answer's chunk, without the excerpt or the sentence nearest to the query."""
        chunk, tokenizer = answer.chunk, self.inspection.index.embedder.tokenizer
        limit = tokenizer.max_tokens
        offsets = tokenizer.offsets(chunk.embedding_text) if chunk.encoder_tokens > limit else []
        n_read = limit - tokenizer.n_special_tokens
        if len(offsets) <= n_read:
            return None
        unread = min(len(chunk.text), len(chunk.embedding_text) - offsets[n_read][0])
        start = chunk.end - unread
        evidence: dict[str, Any] = {"tokens": chunk.encoder_tokens, "limit": limit, "unread_from": start}
        if answer.wanted.stretch:
            if answer.wanted.stretch[2] <= start:
                return None
        else:
            best = self._best_sentence(answer)
            if best is None or chunk.sentences[best].end <= start:
                return None
            evidence["best_sentence"] = chunk.sentence_texts[best]
        return Cause(
            "truncated",
            f"the encoder read {limit} of the {chunk.encoder_tokens} tokens of the passage with the answer, "
            "and the answer is in the rest",
            self._place(answer) | evidence | {"unread_text": opening(chunk.text[-unread:])},
            f"Cut passages below {limit} encoder tokens: `limpid reindex --chunk-tokens` does.",
        )

    def _partly_returned(self, answer: Answer) -> Cause | None:
        """A chunk of the answer is among the visible, but what was returned lacks most of the answer."""
        stretch, rank = answer.wanted.stretch, answer.ranks[self.query.leading]
        if stretch is None or rank is None or rank > self.visible:
            return None
        share = coverage(stretch, self.returned)
        return Cause(
            "partly_returned",
            f"a passage at rank {rank} holds the answer or a part of it, but what was returned has {share:.0%} of it",
            self._place(answer) | {"stretch": list(stretch), "share_returned": share},
            "Return more of each passage (--passage section), or cut longer ones (`limpid reindex --chunk-tokens`).",
        )

    def _near_duplicates(self, answer: Answer) -> Cause | None:
        own = _shingles(answer.chunk.text)
        if len(own) < MIN_SHINGLES:
            return None
        shares = [len(own & _shingles(chunk.text)) / len(own) for chunk in answer.above]
        copies = [
            {"chunk_id": chunk.id, "document_id": chunk.document_id, "share": share, "text": opening(chunk.text)}
            for chunk, share in zip(answer.above, shares, strict=True)
            if share >= REPEATED
        ]
        if not copies:
            return None
        one = len(copies) == 1
        return Cause(
            "near_duplicates",
            f"{len(copies)} near {'duplicate' if one else 'duplicates'} of the answer that {'is' if one else 'are'} "
            f"not judged relevant {'ranks' if one else 'rank'} above it",
            self._place(answer) | {"n_copies": len(copies), "copies": copies[:N_SHOWN]},
            "If they answer too, judge them relevant; else keep one of these passages in the index.",
        )

    def _muddied(self, answer: Answer) -> Cause | None:
        """The chunk is flagged, and the half that answers would pass half of what the dense leg puts above it."""
        row, chunk = self.muddy.get(answer.chunk.id, {}), answer.chunk
        split_at = row.get("split_at")
        if not row.get("flagged") or not isinstance(split_at, int) or not chunk.start < split_at < chunk.end:
            return None
        cosines = self._cosines(chunk, [chunk.between(chunk.start, split_at), chunk.between(split_at, chunk.end)])
        stretch = answer.wanted.stretch
        half = max(range(2), key=cosines.__getitem__)
        if stretch:
            half = int(stretch[2] - max(split_at, stretch[1]) > min(split_at, stretch[2]) - stretch[1])
        ahead = answer.above_cosines[answer.above_cosines > answer.cosine]
        passed = int((ahead < cosines[half]).sum())
        if not passed or 2 * passed < len(ahead):
            return None
        return Cause(
            "muddy",
            f"the passage with the answer mixes two topics; its {('first', 'second')[half]} half alone would be nearer "
            f"to the query than {passed} of the {len(ahead)} passages above it",
            self._place(answer)
            | {
                "score": row.get("score"),
                "split_at": split_at,
                "cosine_of_halves": cosines,
                "n_passed": passed,
                "n_above": len(ahead),
                "halves": [opening(chunk.between(chunk.start, split_at)), opening(chunk.between(split_at, chunk.end))],
            },
            f"Split this passage at character {split_at} of its document.",
        )

    def _unknown_terms(self) -> Cause | None:
        index = self.inspection.index
        words = index.analyzer.terms(self.query.text or "")
        known = index.store.idf(list(words))
        unknown = [word for term, word in words.items() if term not in known]
        if not unknown:
            return None
        occurs = "occurs" if len(unknown) == 1 else "occur"
        return Cause(
            "unknown_terms",
            f"{len(unknown)} of its {len(words)} words {occurs} nowhere in the corpus: {', '.join(unknown)}",
            {"terms": unknown, "n_terms": len(words), "share": len(unknown) / len(words)},
            "Have the corpus name it in these words too (a synonym, a heading), or rely on the dense leg for them.",
        )

    def _far(self, answer: Answer) -> Cause | None:
        """The encoder sees no more relation than between the corpus and questions about something else."""
        level, rank = self.inspection.unrelated, answer.ranks["dense"]
        if rank is not None and rank <= self.visible:
            return None
        if answer.best_cosine > level.chunk or answer.best_sentence > level.sentence:
            return None
        return Cause(
            "far",
            f"the encoder sees no relation between query and answer (cosine {answer.best_cosine:.2f}; questions about "
            f"something else reach {level.chunk:.2f} in this corpus)",
            self._place(answer)
            | {
                "best_cosine": answer.best_cosine,
                "best_sentence_cosine": answer.best_sentence,
                "unrelated_cosine": level.chunk,
                "unrelated_sentence_cosine": level.sentence,
            },
            "Another wording, language or vocabulary than the encoder connects: give BM25 more weight, or try a model "
            "of this domain.",
        )

    def _no_shared_words(self, answer: Answer) -> Cause | None:
        words = self.inspection.index.analyzer.terms(self.query.text or "")
        if not self.inspection.index.store.idf(list(words)) or answer.best_sparse > 0:
            return None  # what isn't in the corpus at all is said already
        return Cause(
            "no_shared_words",
            "query and answer have no word in common, so BM25 can't find it",
            self._place(answer) | {"terms": list(words.values())},
            "Have the passage name it in the users' words too, or give the dense leg more weight.",
        )

    def _disagreeing(self, answer: Answer) -> Cause | None:
        leg_ranks = {leg: answer.ranks[leg] for leg in LEGS}
        rank = answer.ranks[self.query.leading]
        return legs_disagree(leg_ranks, rank, self.query.leading, self._place(answer), self.visible)

    def _crowded(self, answer: Answer) -> Cause | None:
        """The answer's region is denser than this corpus' usual, and its neighbours there take the visible ranks."""
        limit = self.inspection.crowded_above
        crowd = [i for i, cosine in enumerate(answer.near[:VISIBLE_RANKS]) if cosine > limit]
        if len(crowd) < N_CROWD:
            return None
        density = self.inspection.density(answer.chunk.id, answer.stored.dense)
        if density <= limit:
            return None
        lead = max(float(answer.above_cosines[i]) - answer.cosine for i in crowd)
        return Cause(
            "crowded",
            f"the answer is in a crowded region: {len(crowd)} of the first {len(answer.near[:VISIBLE_RANKS])} passages "
            f"above it are its near neighbours, at most {max(lead, 0):.2f} nearer to the query",
            self._place(answer)
            | {
                "density": density,
                "threshold": limit,
                "n_crowd": len(crowd),
                "largest_lead": lead,
                "crowd": [_passage(answer.above[i]) for i in crowd[:N_SHOWN]],
            },
            "Say in each of these passages what sets it apart (a title, a heading), or rerank.",
        )

    def _best_sentence(self, answer: Answer) -> int | None:
        """The place of the chunk's sentence that is nearest to the query."""
        if answer.stored.sentences is None or not len(answer.stored.sentences):
            return None
        query = self.inspection.index.embedder.encode_query(self.query.text)
        return int((answer.stored.sentences @ query).argmax())

    def _cosines(self, chunk: Chunk, parts: Sequence[str]) -> list[float]:
        """The query's cosine to parts of a chunk, each encoded as a chunk of its own."""
        embedder = self.inspection.index.embedder
        vectors = embedder.encode_documents([replace(chunk, text=part).embedding_text for part in parts])
        return (vectors @ embedder.encode_query(self.query.text)).tolist()


def _without_chunk(missing: Sequence[Wanted], n_wanted: int) -> Cause:
    subject = "excerpts" if missing[0].stretch else "relevant documents"
    stand = "stands" if len(missing) == 1 else "stand"
    return Cause(
        "not_indexed",
        f"{len(missing)} of {n_wanted} {subject} {stand} in no passage of the index",
        {
            "document_ids": list(dict.fromkeys(one.document_id for one in missing))[:N_SHOWN],
            "stretches": [list(one.stretch) for one in missing[:N_SHOWN] if one.stretch],
            "n_missing": len(missing),
            "n_relevant": n_wanted,
        },
        "Look at what `limpid documents show` prints of them: their text may be empty, or shared with others.",
    )


def _shown(answer: Answer) -> list[dict[str, object]]:
    return [
        _passage(chunk) | {"cosine": float(cosine)}
        for chunk, cosine in zip(answer.above[:N_SHOWN], answer.above_cosines, strict=False)
    ]


def _passage(chunk: Chunk) -> dict[str, object]:
    return {"chunk_id": chunk.id, "document_id": chunk.document_id, "text": opening(chunk.text)}


def _shingles(text: str) -> set[str]:
    """Every stretch of nine characters of a text, white space collapsed, in lower case."""
    line = " ".join(text.lower().split())
    return {line[i : i + SHINGLE] for i in range(max(1, len(line) - SHINGLE + 1))} if line else set()
