"""Choosing an index' fusion weight: by judgements, by queries, or by the query log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from api.console import Console
from api.opening import count_chunks
from core.errors import InputError
from core.index import Index
from core.settings import Settings
from eval.judged import measure
from eval.significance import bootstrap_interval
from eval.trec import Qrels, load_qrels, load_queries
from search.features import NAMES, features
from search.query_log import QueryLog
from search.retriever import Retriever
from search.tuning import N_FOLDS, WEIGHTS, Tuning, Verdict, cross_validate, load_model, prior, tune, tune_judged

METRIC = "nDCG@10"
MOST_QUERIES = 1000
FEWEST_LOGGED = 5  # queries in the log that tell more than the prior


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found. `verdict` and `gain` (of reranking: mean, low, high) are None where nothing was judged."""

    tuning: Tuning
    verdict: Verdict | None = None
    gain: tuple[float, float, float] | None = None

    def to_json(self) -> dict:
        """In the contract's form."""
        found = self.tuning
        described: dict = {
            "alpha": round(found.alpha, 3),
            "basis": found.basis,
            "n_queries": found.n_queries,
            "interval": [round(end, 3) for end in found.interval],
            "curve": [
                {"alpha": round(float(weight), 2), METRIC: round(value, 5)}
                for weight, value in zip(WEIGHTS, found.curve, strict=True)
            ],
            "verdict": None,
            "rerank": found.rerank,
        }
        if self.verdict:
            verdict = self.verdict
            described["verdict"] = {
                "alpha": round(verdict.alpha, 3),
                "beside": round(verdict.beside, 3),
                "gain": round(verdict.gain, 5),
                "low": round(verdict.low, 5),
                "high": round(verdict.high, 5),
                "sure": verdict.is_sure,
                "queries_needed": verdict.n_needed,
            }
        if self.gain:
            described["rerank_gain"] = dict(zip(("mean", "low", "high"), self.gain, strict=True))
        return described


def find_weight(
    index: Index, retriever: Retriever, settings: Settings, console: Console, queries: Path | None, qrels: Path | None
) -> Tuned:
    """The weight for this index, not stored yet.

    Raises `InputError` for an empty index, and as `read_asked` does.
    """
    count_chunks(index, "tune")
    if queries is None:
        return Tuned(_without_queries(settings))
    texts, judged = read_asked(queries, qrels)
    if judged is None:
        return Tuned(tune(query_features(index, retriever, list(texts.values()), console), "queries"))
    return _judged(index, retriever, texts, judged, console)


def read_asked(queries: Path, qrels: Path | None) -> tuple[dict[str, str], Qrels | None]:
    """The queries to tune by, at most 1,000, and with `qrels` the judgements of those that have any.

    Raises `InputError` for files that can't be read, and for too few queries: so before anything takes time.
    """
    texts = dict(list(load_queries(queries).items())[:MOST_QUERIES])
    if qrels is None:
        return texts, None
    judged = load_qrels(qrels)
    asked = {key: text for key, text in texts.items() if key in judged}
    if not asked:
        raise InputError(f"{qrels} judges none of the queries in {queries}. Their ids must be the same.")
    if len(asked) < N_FOLDS:
        raise InputError(
            f"{qrels} judges {len(asked)} of the queries in {queries}, which are too few to choose a weight by; judge "
            f"at least {N_FOLDS}."
        )
    return asked, {key: judged[key] for key in asked}


def _without_queries(settings: Settings) -> Tuning:
    if settings.query_log and len(rows := QueryLog(settings.query_log).rows()) >= FEWEST_LOGGED:
        return tune(rows, "query log")
    return prior()


def query_features(index: Index, retriever: Retriever, texts: list[str], console: Console) -> np.ndarray:
    """The features of every query, float64, shape (n_queries, n_features)."""
    ranker, k1 = retriever.ranker, index.meta.fingerprint.bm25_k1
    rows = []
    with console.progress("searching", len(texts)) as advance:
        for done, text in enumerate(texts, start=1):
            pool = ranker.gather(ranker.ask(text))
            rows.append(features(pool, ranker.idf(pool.terms.indices), k1, ranker.unrelated))
            advance(done, detail=f"{done:,} of {len(texts):,} queries")
    return np.array(rows).reshape(-1, len(NAMES))


def _judged(index: Index, retriever: Retriever, texts: Mapping[str, str], qrels: Qrels, console: Console) -> Tuned:
    """By judgements where these make sure of a gain over the weight that the queries alone lead to."""
    rows = query_features(index, retriever, list(texts.values()), console)
    unjudged = tune(rows, "queries")
    curves = _curves(retriever, texts, qrels, console)
    verdict = cross_validate(curves, unjudged.alpha)
    found = tune_judged(curves, rows) if verdict.is_sure else unjudged
    if not retriever.can_rerank:
        return Tuned(found, verdict)
    gain = _rerank_gain(retriever, texts, qrels, console)
    return Tuned(replace(found, rerank=gain[1] > 0), verdict, gain)


def _curves(retriever: Retriever, texts: Mapping[str, str], qrels: Qrels, console: Console) -> np.ndarray:
    """nDCG@10 of every query at each weight, float64, shape (n_queries, n_weights)."""
    runs: list[dict[str, list[tuple[str, float]]]] = [{} for _ in WEIGHTS]
    with console.progress("judging weights", len(texts)) as advance:
        for done, (key, text) in enumerate(texts.items(), start=1):
            for run, found in zip(runs, retriever.rank_by_weights(text, WEIGHTS), strict=True):
                run[key] = found
            advance(done, detail=f"{done:,} of {len(texts):,} queries")
    columns = [measure(run, qrels, [METRIC])[METRIC] for run in runs]
    return np.array([[column[key] for column in columns] for key in texts])


def _rerank_gain(
    retriever: Retriever, texts: Mapping[str, str], qrels: Qrels, console: Console
) -> tuple[float, float, float]:
    """Mean gain of reranking in nDCG@10, with its 95% interval."""
    runs: dict[bool, dict[str, list[tuple[str, float]]]] = {True: {}, False: {}}
    with console.progress("judging the reranker", len(texts)) as advance:
        for done, (key, text) in enumerate(texts.items(), start=1):
            for wanted, run in runs.items():
                run[key] = retriever.rank_documents(text, 10, rerank=wanted)
            advance(done, detail=f"{done:,} of {len(texts):,} queries")
    with_it, without = (measure(runs[wanted], qrels, [METRIC])[METRIC] for wanted in (True, False))
    gain = bootstrap_interval([with_it[key] - without[key] for key in texts])
    return gain.mean, gain.low, gain.high


def explained(tuning: Tuning) -> list[tuple[str, float, float]]:
    """Name of each feature, its mean over the queries, and how far it pulls towards the dense leg; strongest first."""
    pulls = load_model().pulls(np.array(tuning.means))
    rows = zip(NAMES, tuning.means, pulls.tolist(), strict=True)
    return sorted(rows, key=lambda row: -abs(row[2]))


def keep(index: Index, tuning: Tuning | None) -> None:
    """Store the tuning with the index, or remove what it has."""
    index.meta.tuning = tuning.to_json() if tuning else None
    index.save()
