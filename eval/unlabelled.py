"""What queries without judgements say: how sure the search is of each, and which of them are worth judging first.

Nothing here is a score. A search that is sure can be wrong; only judgements tell how often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, zip_longest

import numpy as np

from core.errors import InputError

DEPTH = 10  # passages of each mode that are compared
JUDGED_DEPTH = 5  # of each mode that are proposed for judging: what differs there changes nDCG@10 most
N_FIRST = 20  # queries proposed
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LIKELY = 0.5  # confidence above which an answer is more likely there than not


@dataclass(frozen=True, slots=True)
class Observed:
    """A query, the signals of its search (see `search.signals`), and what every mode returned.

    `lists[mode]` are its passages, ids of chunk and document, best first.
    """

    query_id: str
    text: str
    confidence: float | None
    is_far: bool
    unknown_terms: tuple[str, ...]
    legs_disagree: bool
    lists: Mapping[str, Sequence[tuple[str, str]]]

    def agreement(self, one: str, other: str) -> float:
        """Share of their best ten passages that two modes have in common."""
        heads = [{key for key, _ in self.lists[mode][:DEPTH]} for mode in (one, other)]
        shortest = min(map(len, heads))
        if not shortest:
            return float(heads[0] == heads[1])
        return len(heads[0] & heads[1]) / shortest

    @property
    def mean_agreement(self) -> float:
        """Over all pairs of modes; 1 for one mode."""
        shares = [self.agreement(a, b) for a, b in combinations(self.lists, 2)]
        return float(np.mean(shares)) if shares else 1.0

    @property
    def to_judge(self) -> list[str]:
        """The documents of the best five passages of every mode, in the order of their ranks: judge these."""
        heads = [[document_id for _, document_id in listed[:JUDGED_DEPTH]] for listed in self.lists.values()]
        return list(dict.fromkeys(key for rank in zip_longest(*heads) for key in rank if key is not None))


def describe_queries(observed: Sequence[Observed]) -> dict[str, object]:
    """How the signals fall over queries without judgements, as plain JSON values; `judged` is False.

    `confidence` holds quantiles of the probability that the corpus has an answer, `judge_first` in turn the query that
    is least sure and the one whose modes differ most, ties by id. Raises InputError without queries.
    """
    if not observed:
        raise InputError("There is no query to look at. Give at least one.")
    confidences = np.array([one.confidence for one in observed if one.confidence is not None])
    far = [one.query_id for one in observed if one.is_far]
    disagreeing = [one.query_id for one in observed if one.legs_disagree]
    n = len(observed)
    return {
        "judged": False,
        "n_queries": n,
        "confidence": {
            "quantiles": {f"{level:g}": float(np.quantile(confidences, level)) for level in QUANTILES},
            "n_unlikely": int((confidences < LIKELY).sum()),
        }
        if len(confidences)
        else None,
        "far": {"n": len(far), "share": len(far) / n, "query_ids": far},
        "legs_disagree": {"n": len(disagreeing), "share": len(disagreeing) / n, "query_ids": disagreeing},
        "agreement": {
            f"{a} / {b}": float(np.mean([one.agreement(a, b) for one in observed]))
            for a, b in combinations(observed[0].lists, 2)
        },
        "unknown_terms": _unknown_terms(observed),
        "judge_first": [
            {
                "query_id": one.query_id,
                "text": one.text,
                "reason": reason,
                "confidence": one.confidence,
                "agreement": one.mean_agreement,
                "documents": one.to_judge,
            }
            for one, reason in _judge_first(observed)
        ],
    }


def _unknown_terms(observed: Sequence[Observed]) -> list[dict[str, object]]:
    """Words of queries that occur nowhere in the corpus, those of most queries first, ties in order of the alphabet."""
    asked: dict[str, dict[str, None]] = {}
    for one in observed:
        for term in one.unknown_terms:
            asked.setdefault(term.lower(), {})[one.query_id] = None
    ordered = sorted(asked.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"term": term, "n_queries": len(ids), "query_ids": list(ids)} for term, ids in ordered]


def _judge_first(observed: Sequence[Observed]) -> Iterator[tuple[Observed, str]]:
    least_sure = sorted(
        (one for one in observed if one.confidence is not None), key=lambda one: (one.confidence, one.query_id)
    )
    differing = sorted(
        (one for one in observed if one.mean_agreement < 1), key=lambda one: (one.mean_agreement, one.query_id)
    )
    reasons = zip_longest(((one, "least sure") for one in least_sure), ((one, "the modes differ") for one in differing))
    seen: set[str] = set()
    for pair in chain.from_iterable(reasons):
        if pair and pair[0].query_id not in seen and len(seen) < N_FIRST:
            seen.add(pair[0].query_id)
            yield pair


def _agreement(one: Observed) -> tuple[float, str]:
    return one.mean_agreement, one.query_id
