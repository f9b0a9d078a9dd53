"""Label-free diagnosis: what limits retrieval on this corpus, found without any judged query."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.types import Flag
from eval.diagnose.clusters import find_merged_topics
from eval.diagnose.density import find_density
from eval.diagnose.dimensions import find_dimension_collapse
from eval.diagnose.duplicates import find_boilerplate, find_duplicates
from eval.diagnose.finding import Finding
from eval.diagnose.hubs import find_hubs
from eval.diagnose.mismatch import QueryEvidence, find_mismatch
from eval.diagnose.muddy import find_muddy
from eval.diagnose.terms import find_unplaceable
from eval.diagnose.truncation import find_truncated
from eval.recall import Recall, compute
from eval.sample import Sample

__all__ = ["Diagnosis", "Finding", "QueryEvidence", "diagnose", "write_scores"]

SEVERITY = (  # faults of the whole index first, then lost text, then single passages
    "domain_mismatch",
    "dimension_collapse",
    "merged_topics",
    "truncated",
    "muddy_chunk",
    "boilerplate",
    "duplicate",
    "hub",
    "crowded_region",
    "sparse_region",
    "unplaceable_term",
)

Encode = Callable[[Sequence[str]], NDArray[np.floating]]
Pieces = Callable[[Sequence[str]], Sequence[int]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything the checks found.

    `flags` are ordered by severity of kind, then by confidence and score. `corpus` holds the numbers of each check by
    its name, and `corpus["mismatch"]` always. `scores[i]` belongs to `sample.chunks[i]`.
    """

    sample: Sample
    flags: tuple[Flag, ...]
    corpus: Mapping[str, object]
    scores: tuple[Mapping[str, object], ...]


def diagnose(
    sample: Sample,
    seed: int = 0,
    encode: Encode | None = None,
    progress: Progress | None = None,
    pieces: Pieces | None = None,
    queries: QueryEvidence | None = None,
    recall: Recall = compute,
) -> Diagnosis:
    """Flags, corpus numbers and per-chunk scores; the same sample and seed give the same diagnosis.

    `encode(texts)` gives query vectors, float, shape (n, dim): the mismatch check then asks as a user would; without
    it, stored sentence vectors stand in. `pieces(texts)` says how many pieces the encoder's tokenizer makes of each
    text; without either, unplaceable terms aren't looked for. `queries` is what real ones say of the model.
    `progress(name, done, total)` is called before each check and at the end. `recall` may know the findings of an
    earlier run on the same sample.
    """
    checks: dict[str, Callable[[], Finding]] = {
        "truncation": lambda: find_truncated(sample, seed, encode, pieces),
        "muddy": lambda: find_muddy(sample, seed),
        "duplicates": lambda: find_duplicates(sample),
        "boilerplate": lambda: find_boilerplate(sample),
        "dimensions": lambda: find_dimension_collapse(sample, seed),
        "topics": lambda: find_merged_topics(sample, seed),
        "hubs": lambda: find_hubs(sample, seed),
        "density": lambda: find_density(sample, seed),
        "terms": lambda: find_unplaceable(sample, seed, encode, pieces),
        "mismatch": lambda: find_mismatch(sample, seed, encode, queries),
    }
    key = f"{sample.digest()} {seed} {encode is None} {pieces is None}"
    asked = " " + queries.gaps.astype(np.float64).tobytes().hex() if queries else ""
    findings: dict[str, Finding] = {}
    for done, (name, check) in enumerate(checks.items()):
        if progress:
            progress(name, done, len(checks))
        made = recall(name, key + asked * (name == "mismatch"), lambda check=check: check().to_json())
        findings[name] = Finding.from_json(made)
    if progress:
        progress("done", len(checks), len(checks))
    corpus: dict[str, object] = {
        "n_documents": len({chunk.document_id for chunk in sample.chunks}),
        "n_chunks": len(sample),
        "n_sentences": sum(len(chunk.sentences) for chunk in sample.chunks),
        "dim": int(sample.vectors.shape[1]),
    }
    corpus |= {name: finding.numbers for name, finding in findings.items() if name != "mismatch"}
    corpus["mismatch"] = findings["mismatch"].numbers["mismatch"]
    flags = [flag for finding in findings.values() for flag in finding.flags]
    columns = {name: rows for finding in findings.values() for name, rows in finding.scores.items()}
    return Diagnosis(
        sample=sample,
        flags=tuple(sorted(flags, key=_severity)),
        corpus=corpus,
        scores=tuple(
            {"chunk_id": chunk.id, "document_id": chunk.document_id} | {name: rows[i] for name, rows in columns.items()}
            for i, chunk in enumerate(sample.chunks)
        ),
    )


def write_scores(path: str | Path, diagnosis: Diagnosis) -> None:
    """Writes one JSON line for every chunk, flagged or not: ids and the scores of each check."""
    with Path(path).open("w", encoding="utf-8") as file:
        for row in diagnosis.scores:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _severity(flag: Flag) -> tuple[object, ...]:
    return SEVERITY.index(flag.kind), -flag.confidence, -flag.score, flag.subject
