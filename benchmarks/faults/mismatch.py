"""Domain mismatch: what the report says of an encoder on a corpus, beside what judged queries say of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults.calibration import Claims
from benchmarks.figures import Figure
from benchmarks.fusion import COEFFICIENTS, PRIOR, RIDGE
from benchmarks.invented import write_invented
from benchmarks.judged import JUDGED, family_of, ingested
from benchmarks.learning import auroc, ridge
from benchmarks.pools import Collection, curve, feature_rows
from core.embed import Embedder
from eval.diagnose.mismatch import BROKEN_RATIO, CONFIDENCE, QueryEvidence, find_mismatch
from eval.sample import Sample, collect
from search.fusion import FUSIONS
from search.tuning import CurveModel, load_model

INVENTED_SHARE = 1.0
MOST_DOCUMENTS = 2000  # of a collection that is copied with invented words
N_ASKED = 50  # queries whose candidates the report gets to see
AIMS = {"corpus": 0.90, "queries": 0.95}  # AUROC
AIM_ALL, AIM_ENGLISH = 0.90, 0.75  # rank correlation of the expected gap
LATIN_SHARE = 0.8  # of the letters: only such words can be replaced by invented ones


@dataclass(frozen=True, slots=True)
class Told:
    """What `corpus.mismatch` says."""

    score: float | None
    expected_gap: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Variant:
    """A judged collection, as it is or with invented words: nDCG@10 by judgement, and what is told without.

    `corpus` is told from the corpus alone, `queries` with some of its queries, None where nothing was left to learn
    from that hasn't seen its family.
    """

    name: str
    is_invented: bool
    language: str
    dense: float
    sparse: float
    corpus: Told
    queries: Told | None

    @property
    def is_broken(self) -> bool:
        """Whether the vectors find less than 80% of what the words find."""
        return self.dense < BROKEN_RATIO * self.sparse

    def to_json(self) -> dict:
        """Plain values."""
        return asdict(self) | {"is_broken": self.is_broken}


@dataclass(frozen=True, slots=True)
class _Studied:
    """A collection as the report reads it, and its queries: features, and nDCG@10 over the dense leg's weight."""

    name: str
    is_invented: bool
    sample: Sample
    rows: np.ndarray
    curves: np.ndarray


def study(folders: Sequence[Path], keep: Path, encoder: Embedder) -> list[Variant]:
    """All judged collections, and copies with invented words of the smaller ones."""
    judged = [folder for folder in folders if all((folder / name).is_file() for name in JUDGED)]
    studied = [found for folder in judged for found in _studied(folder, keep)]
    return [_variant(one, _model(one, studied), encoder) for one in studied]


def _studied(folder: Path, keep: Path) -> Iterator[_Studied]:
    yield _study(folder, keep, folder.name, is_invented=False)
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8")
    letters = [letter for letter in lines[:20_000] if letter.isalpha()]
    is_latin = sum(letter.isascii() for letter in letters) >= LATIN_SHARE * len(letters)
    if is_latin and lines.count("\n") <= MOST_DOCUMENTS:
        copy = write_invented(folder, keep / "invented" / f"{folder.name}-{INVENTED_SHARE}", INVENTED_SHARE)
        yield _study(copy, keep, folder.name, is_invented=True)


def _study(folder: Path, keep: Path, name: str, is_invented: bool) -> _Studied:
    with ingested(folder, keep) as index:
        collection = Collection(folder, index)
        found = ((stored.chunk, stored.dense, stored.sentences) for stored in index.scan())
        sample = collect(found, index.embedder.tokenizer.max_tokens)
    matrix = collection.matrix
    pools = [matrix.pool(query.text, query.vector, query.terms) for query in collection.asked]
    judged = [collection.judged(query, pool) for query, pool in zip(collection.asked, pools, strict=True)]
    rows = feature_rows(matrix, pools, matrix.unrelated(collection.probes))
    return _Studied(name, is_invented, sample, rows, np.array([curve(one, FUSIONS["convex"]) for one in judged]))


def _model(one: _Studied, studied: Sequence[_Studied]) -> CurveModel | None:
    """The shipped model for a collection that it has never seen, else one trained on the other families alone.

    It is trained as the shipped one is, but for that one's degraded legs; every family counts alike.
    """
    if one.name not in json.loads(COEFFICIENTS.read_text(encoding="utf-8"))["trained_on"]:
        return load_model()
    others = [other for other in studied if family_of(other.name) != family_of(one.name)]
    if not others:
        return None
    families = [family_of(other.name) for other in others]
    weights = [
        np.full(len(other.rows), 1 / families.count(family) / max(1, len(other.rows)))
        for other, family in zip(others, families, strict=True)
    ]
    curves = [other.curves - other.curves.mean(axis=1, keepdims=True) for other in others]
    rows = np.concatenate([other.rows for other in others])
    return CurveModel(**ridge(rows, np.concatenate(curves), np.concatenate(weights), RIDGE, PRIOR))


def _variant(one: _Studied, model: CurveModel | None, encoder: Embedder) -> Variant:
    with_queries = None
    if model:
        drawn = np.random.default_rng(0).permutation(len(one.rows))[:N_ASKED]
        curves = model.curves(one.rows[drawn])
        with_queries = _told(one, encoder, QueryEvidence(curves[:, -1] - curves[:, 0]))
    language = one.name.rpartition("_")[2] if len(one.name.rpartition("_")[2]) == 2 else "en"
    dense, sparse = float(one.curves[:, -1].mean()), float(one.curves[:, 0].mean())
    return Variant(one.name, one.is_invented, language, dense, sparse, _told(one, encoder), with_queries)


def _told(one: _Studied, encoder: Embedder, queries: QueryEvidence | None = None) -> Told:
    told = find_mismatch(one.sample, encode=encoder.encode_queries, queries=queries).numbers["mismatch"]
    return Told(told["score"], told["expected_gap"], told["verdict"])


def claims(variants: Sequence[Variant]) -> Iterator[tuple[str, str, Claims]]:
    """What is called broken, from the corpus alone and with queries: is it?"""
    for one in variants:
        for basis, label in (("corpus", "corpus alone"), ("queries", f"with {N_ASKED} queries")):
            told = getattr(one, basis)
            called = told is not None and told.verdict == "broken"
            yield f"domain mismatch, {label}", one.name, Claims.of([(CONFIDENCE, one.is_broken)] * called)


def figures(variants: Sequence[Variant]) -> list[Figure]:
    """Rows for the corpus alone and with queries."""
    rows = list(_figures(variants, "corpus", "corpus alone"))
    return rows + list(_figures([one for one in variants if one.queries], "queries", f"with {N_ASKED} queries"))


def _figures(variants: Sequence[Variant], basis: str, label: str) -> Iterator[Figure]:
    """AUROC of the score for broken against sound, rank correlation with the judged gap, verdicts that were wrong."""
    judged = [(one, getattr(one, basis)) for one in variants]
    judged = [(one, told) for one, told in judged if told.score is not None]
    broken = np.array([told.score for one, told in judged if one.is_broken])
    sound = np.array([told.score for one, told in judged if not one.is_broken])
    if len(broken) and len(sound):
        value, aim = auroc(-broken, -sound), AIMS[basis]
        of = f"{len(broken)} broken, {len(sound)} sound"
        named = f"domain mismatch, {label}: AUROC ({of})"
        yield Figure(named, f"{value:.3f}", aim=f"≥ {aim}", met=value >= aim, value=value)
    with_gap = [(one, told) for one, told in judged if told.expected_gap is not None]
    english = [(one, told) for one, told in with_gap if one.language == "en" and not one.is_invented]
    for some, which, aim in ((with_gap, "all", AIM_ALL), (english, "English as it is", AIM_ENGLISH)):
        if len(some) > 2:
            yield _correlation(some, f"expected gap, {label}: Spearman with the judged one, {which} ({len(some)})", aim)
    invented = [told for one, told in judged if one.is_invented]
    called = sum(told.verdict == "broken" for told in invented)
    yield Figure(
        f"invented vocabulary, {label}: called broken", f"{called} of {len(invented)}",
        aim="all", met=called == len(invented) if invented else None,
    )  # fmt: skip
    false = sum(told.verdict == "broken" for one, told in judged if not one.is_broken and not one.is_invented)
    missed = sum(told.verdict == "healthy" for one, told in judged if one.is_broken)
    yield Figure(
        f"verdicts, {label}: sound, called broken / broken, called healthy", f"{false} / {missed} of {len(judged)}",
        aim="none", met=not false and not missed,
    )  # fmt: skip


def _correlation(some: Sequence[tuple[Variant, Told]], named: str, aim: float) -> Figure:
    from scipy.stats import spearmanr

    gaps = [one.dense - one.sparse for one, _ in some]
    value = float(spearmanr([told.expected_gap for _, told in some], gaps).statistic)
    return Figure(named, f"{value:.2f}", aim=f"≥ {aim}", met=value >= aim, value=value)
