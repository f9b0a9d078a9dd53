"""Every fusion on every judged collection: fixed recipes, the self-tuned weight, and what an oracle would reach.

Beside the recipes on both granularities stand the usual ones on chunk vectors alone. What is learnt (the self-tuned
weight, confidence) is scored by the models that are shipped where they have never seen the collection, else by models
trained on the collections of other families only. `--train` then trains on all and writes search/coefficients.json.

Collections are the folders below $LIMPID_COLLECTIONS, or below the folder given, that hold corpus.jsonl,
queries.jsonl and qrels.tsv; their indexes are kept in `--keep`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.invented import write_invented
from benchmarks.judged import collection_folders, ingested
from benchmarks.learning import auroc, logistic, ridge
from benchmarks.pools import DEGRADED, Collection, Judged, curve, degraded, feature_rows
from benchmarks.synthetic_index import kept_or_temporary
from eval.significance import paired_randomization
from search.features import NAMES
from search.fusion import EQUAL, FUSIONS
from search.ranking import DENSE_WEIGHT
from search.shipped import load_shipped
from search.signals import confidence
from search.tuning import CurveModel, flat_top, place_of

COEFFICIENTS = Path(__file__).parents[1] / "search" / "coefficients.json"
# English collections of which copies with invented words are made, to learn from: name and share of the words.
INVENTED = (("api_docs", 1.0), ("hint3", 0.5), ("hint3", 1.0), ("med", 1.0), ("stackfaq", 0.5))
N_FOREIGN = 25  # queries of each other collection that are asked of a collection, for confidence
RIDGE = 0.1
PRIOR = 0.3  # of the mean curve, which is added to the intercept: where the features say little, the usual weight stays
DEGRADED_WEIGHT = 0.4  # of a degraded collection beside a real one
FOREIGN_WEIGHT = 0.5  # of foreign queries among those without an answer
AIMS = {"RRF 60, chunk vectors": 0.06, "convex .5, chunk vectors": 0.02}
SELF_TUNED = "self-tuned"
OWN_SHARE = 0.3  # of a query's own curve in the experiment with a weight for each query


@dataclass(frozen=True, slots=True)
class Sample:
    """Features and curves of the queries of one collection, as it is or degraded."""

    family: str
    weight: float
    rows: np.ndarray
    curves: np.ndarray


@dataclass(frozen=True, slots=True)
class Answerable:
    """Features of queries with an answer, of the same without it, of other collections' queries, and of judged ones."""

    family: str
    answered: np.ndarray
    removed: np.ndarray
    foreign: np.ndarray
    unanswerable: np.ndarray


@dataclass(frozen=True, slots=True)
class Studied:
    """All that was measured of one collection."""

    name: str
    fixed: dict[str, np.ndarray]  # recipe → nDCG@10 of every query
    samples: list[Sample]  # the collection itself first
    answerable: Answerable


def main() -> None:
    """Collect, learn, score, print, write; without collections it says so and ends well."""
    parser = arguments("fusion", __doc__)
    parser.add_argument("collections", type=Path, nargs="?", help="folder of collections [$LIMPID_COLLECTIONS]")
    parser.add_argument("--keep", type=Path, help="folder to keep the indexes in, or to find them in")
    parser.add_argument("--train", action="store_true", help="write search/coefficients.json")
    parser.add_argument("--only", action="append", help="name of a collection; repeatable [all]")
    args = parser.parse_args()
    folders = collection_folders(args.collections, args.only)
    if not folders:
        print("fusion: skipped, no collection is named: give their folder, or set LIMPID_COLLECTIONS.")
        return
    with kept_or_temporary(args.keep) as keep:
        opened = [_collect(folder, keep) for folder in folders]
        invented = _invented(folders, keep)
        studied = [_study(collection, opened, invented) for collection in opened]
    report = _report(studied, parser, args)
    publish(report, args.out)
    if args.train:
        _write(studied)


def _collect(folder: Path, keep: Path) -> Collection:
    with ingested(folder, keep) as index:
        return Collection(folder, index)


def _invented(folders: Sequence[Path], keep: Path) -> list[tuple[str, Collection]]:
    """Name of the original and copy of it with invented words."""
    known = {folder.name: folder for folder in folders}
    made = []
    for name, share in INVENTED:
        if name in known:
            copy = write_invented(known[name], keep / "invented" / f"{name}-{share}", share)
            made.append((name, _collect(copy, keep)))
    return made


def _study(collection: Collection, others: Sequence[Collection], invented: Sequence[tuple[str, Collection]]) -> Studied:
    matrix = collection.matrix
    judged = [
        collection.judged(query, matrix.pool(query.text, query.vector, query.terms)) for query in collection.asked
    ]
    curves = np.array([curve(found, FUSIONS["convex"]) for found in judged])
    unrelated = matrix.unrelated(collection.probes)
    rows = feature_rows(matrix, [found.pool for found in judged], unrelated)
    samples = [Sample(collection.family, 1.0, rows, curves)]
    for dimension, dropped in DEGRADED.values():
        samples.append(_degraded(collection, dimension, dropped))
    for name, copy in invented:
        if name == collection.name:
            samples.append(replace(_degraded(copy, None, 0.0), family=collection.family, weight=1.0))
    answerable = _answerable(collection, judged, others)
    print(f"{collection.name}: {len(judged)} queries", flush=True)
    return Studied(collection.name, _fixed(judged, curves), samples, answerable)


def _fixed(judged: Sequence[Judged], curves: np.ndarray) -> dict[str, np.ndarray]:
    """nDCG@10 of each query under every recipe without learning."""

    def scored(scores) -> np.ndarray:
        return np.array([found.ndcg(scores(found)) for found in judged])

    def held(found: Judged, leg: str, scores: np.ndarray) -> np.ndarray:
        return np.where(found.pool.found[leg], scores, np.nan)

    def chunk(name: str, weight: float = EQUAL, completed: bool = True):
        def scores(found: Judged) -> np.ndarray:
            dense, sparse = found.pool.exact.cosine, found.pool.exact.sparse
            if not completed:
                dense, sparse = held(found, "dense", dense), held(found, "sparse", sparse)
            return FUSIONS[name](dense, sparse, weight).scores

        return scored(scores)

    def whole(name: str) -> np.ndarray:
        return scored(lambda found: FUSIONS[name](found.pool.legs["dense"], found.pool.legs["sparse"], EQUAL).scores)

    return {
        "sparse": scored(lambda found: held(found, "sparse", found.pool.exact.sparse)),
        "dense, chunk vectors": scored(lambda found: held(found, "dense", found.pool.exact.cosine)),
        "dense": scored(lambda found: found.pool.legs["dense"]),
        "RRF 60, chunk vectors": chunk("rrf", completed=False),
        "DBSF, chunk vectors": chunk("dbsf", completed=False),
        "convex .5, chunk vectors, missing = 0": chunk("convex", completed=False),
        "convex .5, chunk vectors": chunk("convex"),
        "RRF 60": whole("rrf"),
        "DBSF": whole("dbsf"),
        "z-score": whole("zscore"),
        "TM2C2 .5": whole("tm2c2"),
        "convex .5": curves[:, 10],
        "convex .6": curves[:, 12],
        "convex .7": curves[:, 14],
        "convex .8": curves[:, 16],
        "oracle weight of the collection": curves[:, curves.mean(axis=0).argmax()],
        "oracle weight of each query": curves.max(axis=1),
    }


def _degraded(collection: Collection, dimension: int | None, dropped: float) -> Sample:
    matrix = collection.matrix.cut(dimension)
    asked = degraded(collection.asked, dropped)
    judged = [collection.judged(query, matrix.pool(query.text, query.vector, query.terms)) for query in asked]
    curves = np.array([curve(found, FUSIONS["convex"]) for found in judged])
    rows = feature_rows(matrix, [found.pool for found in judged], matrix.unrelated(collection.probes))
    return Sample(collection.family, DEGRADED_WEIGHT, rows, curves)


def _answerable(collection: Collection, judged: Sequence[Judged], others: Sequence[Collection]) -> Answerable:
    matrix, unrelated = collection.matrix, collection.matrix.unrelated(collection.probes)
    answered, removed = [], []
    for query, found in zip(collection.asked, judged, strict=True):
        right = frozenset(key for key, grade in zip(found.pool.ids, found.grades, strict=True) if grade > 0)
        if right and len(answered) < 300:
            answered.append(found.pool)
            removed.append(matrix.pool(query.text, query.vector, query.terms, without=right))
    strange = [query for other in others if other.family != collection.family for query in other.asked[:N_FOREIGN]]

    def rows(pools) -> np.ndarray:
        return feature_rows(matrix, list(pools), unrelated).reshape(-1, len(NAMES))

    return Answerable(
        collection.family,
        rows(answered),
        rows(removed),
        rows(matrix.pool(query.text, query.vector, query.terms) for query in strange),
        rows(matrix.pool(query.text, query.vector, query.terms) for query in collection.unanswerable),
    )


def _curve_model(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """The regression from features to curves; every family counts alike, and every sample of it by its weight."""
    sums = {family: sum(s.weight for s in samples if s.family == family) for family in {s.family for s in samples}}
    curves = [found.curves - found.curves.mean(axis=1, keepdims=True) for found in samples]
    weights = [np.full(len(s.rows), s.weight / sums[s.family] / max(1, len(s.rows))) for s in samples]
    rows = np.concatenate([found.rows for found in samples])
    return ridge(rows, np.concatenate(curves), np.concatenate(weights), RIDGE, PRIOR)


def _confidence_model(parts: Sequence[Answerable]) -> dict[str, np.ndarray]:
    rows, answers, weights = [], [], []
    for part in parts:
        for x, answer, weight in (
            (part.answered, 1, 1.0),
            (part.removed, 0, 1 - FOREIGN_WEIGHT),
            (part.foreign, 0, FOREIGN_WEIGHT),
        ):
            rows.append(x)
            answers.append(np.full(len(x), answer))
            weights.append(np.full(len(x), weight / max(1, len(x))))
    return logistic(np.concatenate(rows), np.concatenate(answers), np.concatenate(weights))


def _models(one: Studied, studied: Sequence[Studied], seen: Container[str]) -> dict[str, dict[str, np.ndarray]] | None:
    """The shipped models for a collection that they have never seen, else models trained on the other families."""
    if one.name not in seen:
        return load_shipped()
    family = one.samples[0].family
    others = [other for other in studied if other.samples[0].family != family]
    return _trained(others) if others else None


def _trained(studied: Sequence[Studied]) -> dict[str, dict[str, np.ndarray]]:
    samples = [sample for one in studied for sample in one.samples]
    return {
        "queries": _curve_model(samples),
        "confidence": _confidence_model([one.answerable for one in studied]),
    }


def _learnt(studied: Sequence[Studied], models: Mapping[str, dict]) -> dict[str, dict[str, np.ndarray]]:
    """Collection → recipe → nDCG@10 of each query, by models that saw no collection of its family."""
    found = {}
    for one in studied:
        if one.name not in models:
            continue
        own = one.samples[0]
        model = CurveModel(**models[one.name]["queries"])
        predicted_curves = model.curves(own.rows)
        mean = predicted_curves.mean(axis=0)
        few = predicted_curves[np.random.default_rng(0).permutation(len(own.rows))[:5]].mean(axis=0)
        found[one.name] = {
            "self-tuned, 5 queries": _at(own.curves, flat_top(few)),
            SELF_TUNED: _at(own.curves, flat_top(mean)),
            "self-tuned, per query": np.array(
                [
                    values[place_of(flat_top(OWN_SHARE * own_curve + (1 - OWN_SHARE) * mean))]
                    for values, own_curve in zip(own.curves, predicted_curves, strict=True)
                ]
            ),
        }
    return found


def _at(curves: np.ndarray, weight: float) -> np.ndarray:
    return curves[:, place_of(weight)]


def _confidences(studied: Sequence[Studied], models: Mapping[str, dict]) -> dict[str, dict[str, float]]:
    """Collection → AUROC of confidence, for queries with an answer against each kind without one."""
    found = {}
    for one in studied:
        if one.name not in models:
            continue
        part, model = one.answerable, models[one.name]["confidence"]
        right = confidence(part.answered, model)
        found[one.name] = {
            kind: auroc(right, confidence(rows, model))
            for kind, rows in (("removed", part.removed), ("foreign", part.foreign), ("judged", part.unanswerable))
            if len(rows)
        }
    return found


def _report(studied: Sequence[Studied], parser: argparse.ArgumentParser, args: argparse.Namespace) -> Report:
    names = [one.name for one in studied]
    seen = names if args.train else json.loads(COEFFICIENTS.read_text(encoding="utf-8"))["trained_on"]
    models = {one.name: found for one in studied if (found := _models(one, studied, seen))}
    learnt, confidences = _learnt(studied, models), _confidences(studied, models)
    values = {one.name: one.fixed | learnt.get(one.name, {}) for one in studied}
    families = {one.name: one.samples[0].family for one in studied}
    recipes = list(next(iter(values.values())))
    figures = []
    tuned = _mean(values, families, SELF_TUNED) if learnt else None
    for recipe in recipes:
        mean = _mean(values, families, recipe)
        aim = AIMS.get(recipe)
        gain = tuned - mean if tuned is not None else None
        figures.append(
            Figure(
                f"nDCG@10, {recipe}",
                f"{mean:.4f}",
                "–" if gain is None or recipe == SELF_TUNED else f"{SELF_TUNED} {gain:+.4f}",
                aim=f"beaten by {aim}" if aim else "–",
                met=gain >= aim if aim and gain is not None else None,
                value=mean,
            )
        )
    figures += _confidence_figures(confidences)
    return Report(
        "fusion",
        command_line(parser, args),
        figures,
        [
            f"{len(studied)} collections of {len(set(families.values()))} families; means over families. Everything "
            "learnt is scored on a collection by a model trained on the other families.",
            *_worst(values, learnt),
        ],
        details={
            "ndcg_at_10": {name: {key: float(x.mean()) for key, x in found.items()} for name, found in values.items()},
            "p_against_self_tuned": _p_values(values, learnt),
            "confidence_auroc": confidences,
            "families": families,
        },
    )


def _mean(values: Mapping[str, Mapping[str, np.ndarray]], families: Mapping[str, str], recipe: str) -> float:
    """Mean over families of the mean over a family's collections."""
    found: dict[str, list[float]] = {}
    for name, recipes in values.items():
        if recipe in recipes:
            found.setdefault(families[name], []).append(float(recipes[recipe].mean()))
    return float(np.mean([np.mean(of_family) for of_family in found.values()]))


def _worst(values: Mapping[str, Mapping[str, np.ndarray]], learnt: Mapping[str, dict]) -> list[str]:
    """How far below the better leg and the oracle the self-tuned weight is where it is worst."""
    if not learnt:
        return []
    below, regret = {}, {}
    for name in learnt:
        mean = {recipe: float(found.mean()) for recipe, found in values[name].items()}
        below[name] = max(mean["sparse"], mean["dense"]) - mean[SELF_TUNED]
        regret[name] = mean["oracle weight of the collection"] - mean[SELF_TUNED]
    lowest, farthest = max(below, key=below.__getitem__), max(regret, key=regret.__getitem__)
    return [
        f"{SELF_TUNED}: at worst {below[lowest]:+.4f} below the better leg ({lowest}), {regret[farthest]:+.4f} below "
        f"the collection's oracle weight ({farthest})."
    ]


def _p_values(
    values: Mapping[str, Mapping[str, np.ndarray]], learnt: Mapping[str, dict]
) -> dict[str, dict[str, float]]:
    """Collection → recipe → p of the paired randomisation test against the self-tuned weight."""
    return {
        name: {
            recipe: paired_randomization(values[name][SELF_TUNED], found)
            for recipe, found in values[name].items()
            if recipe != SELF_TUNED and not recipe.startswith("oracle")
        }
        for name in learnt
    }


def _confidence_figures(confidences: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    figures = []
    for kind, what in (
        ("removed", "the same queries without their answers"),
        ("foreign", "queries of other collections"),
        ("judged", "real unanswerable queries"),
    ):
        found = [scores[kind] for scores in confidences.values() if kind in scores]
        if found:
            figures.append(
                Figure(
                    f"AUROC of confidence against {what}",
                    f"{np.mean(found):.3f} (worst {min(found):.3f}, {len(found)} collections)",
                    value=float(np.mean(found)),
                )
            )
    return figures


def _write(studied: Sequence[Studied]) -> None:
    models = _trained(studied)
    written = {
        "trained_on": [one.name for one in studied],
        "default_weight": DENSE_WEIGHT,
        "features": list(NAMES),
        "models": {
            kind: {name: np.round(values, 6).tolist() for name, values in model.items()}
            for kind, model in models.items()
        },
    }
    COEFFICIENTS.write_text(json.dumps(written) + "\n", encoding="utf-8")
    print(f"Wrote {COEFFICIENTS}")


if __name__ == "__main__":
    main()
