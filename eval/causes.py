"""Why a judged query fared badly: what a cause is, and those that the rankings alone prove (see `eval.checks`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.inspection import LEGS
from eval.passages import Stretch

# From faults of the judgements and of the index, over the answer's own text, to how the corpus lies around it.
CAUSES = (
    "not_asked",
    "no_relevant",
    "not_indexed",
    "no_results",
    "truncated",
    "partly_returned",
    "near_duplicates",
    "muddy",
    "unknown_terms",  # most of its words; where they are the fewer, it stands just before "outranked"
    "far",
    "no_shared_words",
    "legs_disagree",
    "crowded",
    "outranked",
)
VISIBLE_RANKS = 10  # what a reader looks at
MOST = 0.5  # share of its words that a query can't lack in the corpus without failing for it
N_SHOWN = 5  # passages, ids in evidence


@dataclass(frozen=True, slots=True)
class Cause:
    """One of `CAUSES`; `says` in words, `evidence` ready for JSON, and where there is one the `action` that helps."""

    cause: str
    says: str
    evidence: Mapping[str, object]
    action: str | None = None

    def to_json(self) -> dict[str, object]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class HardQuery:
    """A query that fared badly, and what the modes returned for it: `lists[mode]` are document ids, best first.

    `text` is None where it isn't known. `relevant` are the documents judged to answer, `stretches` the excerpts where
    these are judged. `leading` is the mode whose value counts.
    """

    query_id: str
    text: str | None
    relevant: frozenset[str]
    lists: Mapping[str, Sequence[str]]
    leading: str
    stretches: tuple[Stretch, ...] = ()
    was_asked: bool = True


def causes_by_runs(query: HardQuery, known: Collection[str] | None = None) -> list[Cause]:
    """What the rankings prove; `known` are the ids of the documents in the index, None where nobody looked."""
    if found := fundamental(query, known):
        return found
    best = {
        mode: next((rank for rank, key in enumerate(ids, 1) if key in query.relevant), None)
        for mode, ids in query.lists.items()
    }
    leg_ranks = {leg: best[leg] for leg in LEGS if leg in best}
    found = [legs_disagree(leg_ranks, best[query.leading], query.leading, {})] if len(leg_ranks) == len(LEGS) else []
    if listed := [cause for cause in found if cause]:
        return listed
    rank = best[query.leading]
    if rank is None:
        n = len(query.lists[query.leading])
        return [outranked(f"none of the {n} documents that {query.leading} returned is relevant", {"ranks": best})]
    says = f"the first relevant document is at rank {rank} of {query.leading}, others match as well"
    return [outranked(says, {"ranks": best})]


def severity(cause: Cause) -> float:
    """A cause's place in the fixed order."""
    if cause.cause == "unknown_terms" and cause.evidence["share"] < MOST:
        return CAUSES.index("outranked") - 0.5
    return CAUSES.index(cause.cause)


def fundamental(query: HardQuery, known: Collection[str] | None) -> list[Cause]:
    """Causes that no ranking could help; `known` are the ids of the documents in the index, None if not looked up."""
    if not query.relevant:
        return [Cause("no_relevant", "no document is judged relevant, so no ranking could score", {})]
    found = []
    missing = sorted(query.relevant - set(known)) if known is not None else []
    if missing:
        all_of = len(missing) == len(query.relevant)
        subject = "none of the relevant documents is" if all_of else f"{len(missing)} of the relevant documents aren't"
        evidence = {"document_ids": missing[:N_SHOWN], "n_missing": len(missing), "n_relevant": len(query.relevant)}
        action = "Ingest them, or correct the ids in the judgements."
        found.append(Cause("not_indexed", f"{subject} in the index: {', '.join(missing[:N_SHOWN])}", evidence, action))
    if not query.was_asked:
        action = "Add it to the queries."
        return [Cause("not_asked", "the queries have no text for it, so it was never asked", {}, action), *found]
    if not query.lists[query.leading]:
        found.append(Cause("no_results", f"{query.leading} returned nothing", {"mode": query.leading}))
    return found


def legs_disagree(
    leg_ranks: Mapping[str, int | None],
    rank: int | None,
    leading: str,
    evidence: Mapping[str, Any],
    visible: int = VISIBLE_RANKS,
) -> Cause | None:
    """The cause `legs_disagree`: one leg has the answer visible and above the mode's own rank, the other hasn't."""
    seeing = [leg for leg, found in leg_ranks.items() if found is not None and found <= visible]
    if len(seeing) != 1 or (rank is not None and rank <= leg_ranks[seeing[0]]):
        return None
    (seeing_leg,) = seeing
    (blind,) = set(leg_ranks) - {seeing_leg}
    where = {leg: f"at rank {found}" if found else "not at all" for leg, found in leg_ranks.items()}
    own = "" if leading in LEGS else f"; {leading} " + (f"at rank {rank}" if rank else "not at all")
    return Cause(
        "legs_disagree",
        f"dense and sparse disagree: {seeing_leg} finds the answer {where[seeing_leg]}, {blind} {where[blind]}{own}",
        {**evidence, "ranks": {**leg_ranks, leading: rank}},
        f"More weight for the {seeing_leg} leg helps this query; `limpid tune` with judgements says if it helps all.",
    )


def outranked(says: str, evidence: Mapping[str, Any]) -> Cause:
    """The cause that is left where nothing else is found."""
    return Cause("outranked", says, evidence, "Read what stands above it: if that answers too, judge it relevant.")
