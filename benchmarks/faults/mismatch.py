"""Domain mismatch: what the report says of an encoder on a corpus, beside what judged queries say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.invented import write_invented
from benchmarks.judged import JUDGED, ingested
from benchmarks.learning import auroc
from benchmarks.pools import Collection
from eval.diagnose.mismatch import BROKEN_RATIO, find_mismatch
from eval.sample import collect

INVENTED_SHARE = 1.0
MOST_DOCUMENTS = 2000  # of a collection that is copied with invented words
AIM_AUROC = 0.9
LATIN_SHARE = 0.8  # of the letters: only such words can be replaced by invented ones


@dataclass(frozen=True, slots=True)
class Variant:
    """A judged collection, as it is or with invented words: nDCG@10 by judgement, and what the corpus alone says."""

    name: str
    is_invented: bool
    language: str
    dense: float
    sparse: float
    score: float | None
    expected_gap: float | None
    verdict: str

    @property
    def is_broken(self) -> bool:
        """Whether the vectors find less than 80% of what the words find."""
        return self.dense < BROKEN_RATIO * self.sparse

    def to_json(self) -> dict:
        """Plain values."""
        return asdict(self) | {"is_broken": self.is_broken}


def study(folders: Sequence[Path], keep: Path) -> list[Variant]:
    """All judged collections, and copies with invented words of the smaller ones."""
    variants = []
    for folder in folders:
        if not all((folder / name).is_file() for name in JUDGED):
            continue
        variants.append(_variant(folder, keep, folder.name, is_invented=False))
        lines = (folder / "corpus.jsonl").read_text(encoding="utf-8")
        letters = [letter for letter in lines[:20_000] if letter.isalpha()]
        is_latin = sum(letter.isascii() for letter in letters) >= LATIN_SHARE * len(letters)
        if is_latin and lines.count("\n") <= MOST_DOCUMENTS:
            copy = write_invented(folder, keep / "invented" / f"{folder.name}-{INVENTED_SHARE}", INVENTED_SHARE)
            variants.append(_variant(copy, keep, folder.name, is_invented=True))
    return variants


def _variant(folder: Path, keep: Path, name: str, is_invented: bool) -> Variant:
    with ingested(folder, keep) as index:
        collection = Collection(folder, index)
        rows = ((found.chunk, found.dense, found.sentences) for found in index.scan())
        sample = collect(rows, index.embedder.tokenizer.max_tokens)
        told = find_mismatch(sample, encode=index.embedder.encode_queries).numbers["mismatch"]
    pools = [collection.matrix.pool(query.text, query.vector, query.terms) for query in collection.asked]
    judged = [collection.judged(query, pool) for query, pool in zip(collection.asked, pools, strict=True)]
    dense, sparse = (float(np.mean([one.ndcg(one.pool.legs[leg]) for one in judged])) for leg in ("dense", "sparse"))
    language = name.rpartition("_")[2] if len(name.rpartition("_")[2]) == 2 else "en"
    return Variant(name, is_invented, language, dense, sparse, told["score"], told["expected_gap"], told["verdict"])


def figures(variants: Sequence[Variant]) -> list[Figure]:
    """AUROC of the score for broken against sound, rank correlation with the judged gap, verdicts that were wrong."""
    from scipy.stats import spearmanr

    judged = [one for one in variants if one.score is not None]
    broken = np.array([one.score for one in judged if one.is_broken])
    sound = np.array([one.score for one in judged if not one.is_broken])
    rows = []
    if len(broken) and len(sound):
        value = auroc(-broken, -sound)
        of = f"{len(broken)} broken, {len(sound)} sound"
        rows.append(
            Figure(f"domain mismatch, AUROC ({of})", f"{value:.3f}", aim="≥ 0.90", met=value >= 0.9, value=value)
        )
    for label, some, aim in (
        ("all", judged, 0.90),
        ("English as it is", [one for one in judged if one.language == "en" and not one.is_invented], 0.75),
    ):
        if len(some) > 2:
            gaps = [one.dense - one.sparse for one in some]
            value = float(spearmanr([one.expected_gap for one in some], gaps).statistic)
            named = f"expected gap, Spearman with the judged one, {label} ({len(some)})"
            rows.append(Figure(named, f"{value:.2f}", aim=f"≥ {aim}", met=value >= aim, value=value))
    invented = [one for one in judged if one.is_invented and one.is_broken]
    called = sum(one.verdict == "broken" for one in invented)
    false = sum(one.verdict == "broken" for one in judged if not one.is_broken)
    missed = sum(one.verdict == "healthy" for one in judged if one.is_broken)
    rows.append(Figure("invented vocabulary that breaks the vectors, called broken", f"{called} of {len(invented)}"))
    rows.append(Figure("sound, called broken / broken, called healthy", f"{false} / {missed} of {len(judged)}"))
    return rows
