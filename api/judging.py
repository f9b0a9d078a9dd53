"""Scoring an open index against judgements, or saying of queries what can be said without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.opening import count_chunks, retriever
from api.ranking import passages_all, rank_all, without
from core.errors import InputError

if TYPE_CHECKING:
    from api.console import Console
    from core.index import Index
    from core.settings import Settings
    from eval.inspection import RankChunks
    from eval.judged import Evaluation
    from eval.passages import Excerpts
    from eval.trec import Qrels
    from search.retriever import Retriever

MODES = ("hybrid", "dense", "sparse")
N_NAMED = 5  # ids in a message


@dataclass(frozen=True, slots=True)
class Ways:
    """How to search: modes, other fusions of hybrid, documents and passages for a query, what a passage is."""

    modes: Sequence[str] = MODES
    fusions: Sequence[str] = ()
    k: int = 100
    n_passages: int = 5
    passage: str = "chunk"
    exclude_self: bool = False

    def named(self) -> dict[str, dict[str, Any]]:
        """A search's options by the name of its results; raises InputError for what no search can do."""
        from search.options import Options

        ways: dict[str, dict[str, Any]] = {mode: {"mode": mode} for mode in self.modes}
        ways |= {f"hybrid:{fusion}": {"mode": "hybrid", "fusion": fusion} for fusion in self.fusions}
        for options in ways.values():
            Options(k=self.k, **options)
            Options(k=self.n_passages, passage=self.passage, **options)
        return ways


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries with their judgements, and what the index has of the documents.

    `asked` are the texts of judged queries, `known` the ids of all documents of the index, `owned` the texts of those
    that hold an excerpt.
    """

    texts: Mapping[str, str]
    asked: Mapping[str, str]
    qrels: Qrels
    excerpts: Excerpts | None
    known: set[str]
    owned: Mapping[str, str]


def score(
    opened: Index,
    settings: Settings,
    console: Console,
    queries: Path,
    qrels: Path | None = None,
    metrics: Sequence[str] | None = None,
    ways: Ways | None = None,
    excerpts: Path | None = None,
    muddy: Mapping[str, Mapping[str, object]] | None = None,
) -> Evaluation:
    """The judged results of an open index; `muddy` are the scores of its diagnosis by chunk, where one was made.

    Raises InputError for files that don't fit each other or the index.
    """
    from eval.causes import VISIBLE_RANKS
    from eval.checks import causes_in_index
    from eval.inspection import Inspection
    from eval.judged import DEFAULT_METRICS, evaluate, leading_mode, parse_metrics
    from eval.passages import measure_passages

    ways, metrics = ways or Ways(), metrics or DEFAULT_METRICS
    searches = ways.named()
    parse_metrics(metrics)
    judged = _load(opened, console, queries, qrels, excerpts)
    search = _retriever(opened, settings, console, searches)
    runs, returned = _search(search, judged, ways, searches, console)
    by_query = judged.excerpts.by_query if judged.excerpts else None
    own = {text: query_id for query_id, text in judged.asked.items()} if ways.exclude_self else {}
    inspection = Inspection(opened, _ranker_of(search, searches, own), muddy)
    visible = ways.n_passages if judged.excerpts else VISIBLE_RANKS
    with console.progress("checking causes"):
        return evaluate(
            runs,
            judged.qrels,
            metrics,
            queries=judged.texts,
            document_ids=judged.known,
            passages={
                name: measure_passages(found, judged.excerpts, ways.n_passages) for name, found in returned.items()
            },
            stretches=by_query,
            find_causes=lambda hard: causes_in_index(
                hard, inspection, judged.known, visible, returned.get(leading_mode(searches))
            ),
        )


def describe(
    opened: Index, settings: Settings, console: Console, queries: Path, ways: Ways | None = None
) -> dict[str, object]:
    """What queries without judgements say (see `eval.unlabelled.describe_queries`)."""
    from eval.trec import load_queries
    from eval.unlabelled import DEPTH, Observed, describe_queries

    searches = (ways or Ways()).named()
    texts = load_queries(queries)
    search = _retriever(opened, settings, console, searches)
    observed = []
    with console.progress("searching", len(texts)) as advance:
        for done, (query_id, text) in enumerate(texts.items(), start=1):
            found = {name: search.search(text, DEPTH, **how) for name, how in searches.items()}
            signals = (found.get("hybrid") or search.search(text, 1)).signals
            observed.append(
                Observed(
                    query_id=query_id,
                    text=text,
                    confidence=signals.confidence,
                    is_far=signals.is_far,
                    unknown_terms=signals.unknown_terms,
                    legs_disagree=signals.legs_disagree,
                    lists={
                        name: [(hit.chunk.id, hit.chunk.document_id) for hit in results.hits]
                        for name, results in found.items()
                    },
                )
            )
            advance(done, detail=f"{done:,} of {len(texts):,} queries")
    return describe_queries(observed)


def _retriever(opened: Index, settings: Settings, console: Console, searches: Mapping[str, Any]) -> Retriever:
    count_chunks(opened, "evaluate")
    if any(how.get("fusion") == "tuned" for how in searches.values()) and not opened.meta.tuning:
        raise InputError("The index isn't tuned: run limpid tune, or compare with another fusion, such as rrf.")
    search = retriever(opened, settings, console.note)
    _ = search.ranker.unrelated  # measured in the main thread, before any progress bar
    return search


def _load(opened: Index, console: Console, queries: Path, qrels: Path | None, excerpts: Path | None) -> Judged:
    """Grades of documents, and excerpts; a document that holds an excerpt is relevant if the qrels don't know it."""
    from eval.passages import load_excerpts
    from eval.trec import load_qrels, load_queries

    texts = load_queries(queries)
    grades: Qrels = load_qrels(qrels) if qrels else {}
    loaded = load_excerpts(excerpts) if excerpts else None
    for query_id, by_document in (loaded.qrels if loaded else {}).items():
        grades[query_id] = by_document | grades.get(query_id, {})
    asked = {query_id: text for query_id, text in texts.items() if query_id in grades}
    if not asked:
        raise InputError(
            f'The judgements are of none of the queries in {queries}: they name "{next(iter(grades))}", the queries '
            f'"{next(iter(texts))}". Their ids must be the same.'
        )
    known = {record.id for record in opened.store.records()}
    _check_known(grades, known, console)
    return Judged(texts, asked, grades, loaded, known, _texts_of(opened, loaded))


def _search(
    search: Retriever, judged: Judged, ways: Ways, searches: Mapping[str, dict[str, Any]], console: Console
) -> tuple[dict[str, Any], dict[str, Any]]:
    """By the name of each search: the documents found for every query, and where excerpts are judged the passages."""
    runs, returned = {}, {}
    for name, how in searches.items():
        options: dict[str, Any] = {"exclude_self": ways.exclude_self, "label": f"searching, {name}", **how}
        runs[name] = rank_all(search, judged.asked, console, k=ways.k, **options)
        if judged.excerpts:
            with_excerpt = {key: text for key, text in judged.asked.items() if key in judged.excerpts.by_query}
            options |= {"k": ways.n_passages, "passage": ways.passage, "owned": judged.owned}
            returned[name] = passages_all(search, with_excerpt, console, **options)
    return runs, returned


def _check_known(judged: Qrels, known: set[str], console: Console) -> None:
    """Names documents that are judged relevant and aren't in the index; they can't be found and count as such."""
    relevant = {key for grades in judged.values() for key, grade in grades.items() if grade > 0}
    missing = sorted(relevant - known)
    if relevant and len(missing) == len(relevant):
        example = f', the index "{min(known)}"' if known else ""
        raise InputError(
            f'None of the {len(relevant)} relevant documents is in the index: the judgements name "{missing[0]}"'
            f"{example}. Use the ids that `limpid documents` lists."
        )
    if missing:
        more = ", …" if len(missing) > N_NAMED else ""
        console.note(
            f"{len(missing)} of {len(relevant)} relevant documents aren't in the index and can't be found: "
            f"{', '.join(missing[:N_NAMED])}{more}"
        )


def _texts_of(opened: Index, excerpts: Excerpts | None) -> dict[str, str]:
    """The texts of the documents with excerpts. Raises InputError where an excerpt doesn't fit."""
    if excerpts is None:
        return {}
    texts = {record.id: record.text for record in opened.store.load_records(sorted(excerpts.document_ids))}
    excerpts.check(texts)
    return texts


def _ranker_of(search: Retriever, searches: Mapping[str, dict[str, Any]], own: Mapping[str, str]) -> RankChunks:
    """From a query and a search's name to its candidates; `own` are documents to be left out, by query."""

    def rank(text: str, name: str) -> list[tuple[str, float]]:
        where = without(own[text]) if text in own else None
        ranking = search.ranker.rank(text, **searches.get(name, {"mode": name}), where=where)
        return [(ranking.ids[row], float(ranking.fused.scores[row])) for row in ranking.best()]

    return rank
