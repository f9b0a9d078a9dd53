"""The quality report as one JSON document; `eval.page` makes the page from it, `report.schema.json` describes it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from core.types import Chunk, Flag
from eval.compare import Report, compare_reports
from eval.diagnose import Diagnosis, write_scores
from eval.diagnose.finding import opening
from eval.gate import Gate, judge
from eval.judged import Evaluation
from eval.kinds import KINDS, is_sure, kind_of, ordered
from eval.map import Colouring, CorpusMap

__all__ = ["SCHEMA", "build_report", "read_schema", "write_scores"]

SCHEMA = "limpid-report/2"
REDUNDANT_SHARE = 0.05  # copies limit retrieval once this share of the chunks is one
LOOK_FIRST = 20
CHUNK_KINDS = ("truncated", "muddy_chunk", "duplicate", "hub")  # whose subject is a chunk that can be mended by itself
SUBJECT_CHARACTERS = 280
POINT_CHARACTERS, POINT_CHARACTERS_OF_MANY, MANY_POINTS = 280, 140, 5000  # so that 50,000 points stay below 20 MB
DIGITS = 6  # significant ones of every number: what a float32 holds
METHODS = {"tsne": "t-SNE (openTSNE), exact neighbours, PCA start", "umap": "UMAP (umap-learn), PCA start"}


@cache
def read_schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) that every report follows."""
    return json.loads((Path(__file__).parent / "report.schema.json").read_text(encoding="utf-8"))


def build_report(
    diagnosis: Diagnosis,
    corpus_map: CorpusMap | None = None,
    evaluation: Evaluation | None = None,
    corpus: str = "",
    fingerprint: Mapping[str, object] | None = None,
    described: Mapping[str, object] | None = None,
    gates: Sequence[Gate] = (),
    old: Report | None = None,
) -> dict[str, object]:
    """The report as plain JSON values, as `report.schema.json` says; the same for the same arguments.

    `corpus` is the name shown; `fingerprint` what the index was made with; `described` what queries without judgements
    say (see `eval.unlabelled`); `old` an earlier report to compare with.
    """
    limiting = _limiting(diagnosis)
    first = list(dict.fromkeys(flag.subject for flag in limiting if flag.kind in CHUNK_KINDS))
    counts = Counter(flag.kind for flag in diagnosis.flags)
    report = {
        "schema": SCHEMA,
        "verdict": _verdict(diagnosis, limiting, first),
        "steps": _steps(limiting),
        "look_first": first[:LOOK_FIRST],
        "counts": {kind: counts[kind] for kind in ordered(counts)},
        "corpus": {"name": corpus, **diagnosis.corpus},
        "flags": [{name: getattr(flag, name) for name in Flag.__slots__} for flag in diagnosis.flags],
        "subjects": _subjects(diagnosis),
        "map": _map_json(diagnosis, corpus_map) if corpus_map is not None else None,
        "evaluation": evaluation.to_json() if evaluation is not None else None,
        "queries": dict(described) if described is not None else None,
        "fingerprint": dict(fingerprint or {}),
        "gate": judge(gates, diagnosis.flags),
        "comparison": None,
    }
    plain = _plain(report)
    if old is not None:
        plain["comparison"] = _plain(compare_reports(old, plain))
    return plain


def _limiting(diagnosis: Diagnosis) -> list[Flag]:
    """The flags that enter the verdict: sure ones; copies and muddy chunks only where there are many."""
    left_out = set()
    copies = [flag.evidence.get("member_ids", [flag.subject]) for flag in diagnosis.flags if flag.kind == "duplicate"]
    if sum(map(len, copies)) < REDUNDANT_SHARE * len(diagnosis.sample):
        left_out.add("duplicate")
    if not diagnosis.corpus.get("muddy", {}).get("exceeds_chance", True):
        left_out.add("muddy_chunk")
    return [flag for flag in diagnosis.flags if is_sure(flag) and flag.kind not in left_out]


def _verdict(diagnosis: Diagnosis, limiting: list[Flag], first: list[str]) -> str:
    if not len(diagnosis.sample):
        return "The index is empty: there is nothing to judge yet."
    if not limiting:
        rest = len(diagnosis.flags)
        minor = "1 minor sign is" if rest == 1 else f"{rest:,} minor signs are"
        listed = f" {minor} listed below; a healthy corpus has some as well." if rest else ""
        return "No fault found that would limit retrieval on this corpus." + listed
    counts = Counter(flag.kind for flag in limiting)
    kinds = ordered(counts)
    causes = [kind_of(kind).counted(counts[kind]) for kind in kinds]
    listed = causes[0] if len(causes) == 1 else ", ".join(causes[:-1]) + " and " + causes[-1]
    advice = ""
    if kinds[0] in KINDS and not KINDS[kinds[0]].plural:
        advice = " This concerns the whole index: see to it before single passages."
    elif first:
        shown = min(len(first), LOOK_FIRST)
        advice = " Fix this chunk first." if shown == 1 else f" Fix these {shown} chunks first."
    return f"Retrieval on this corpus is limited by {listed}.{advice}"


def _steps(limiting: list[Flag]) -> list[dict[str, object]]:
    """What limits retrieval, gravest first: what it means for readers, what to do, by which commands."""
    counts = Counter(flag.kind for flag in limiting)
    return [
        {
            "kind": kind,
            "count": counts[kind],
            "cause": kind_of(kind).counted(counts[kind]),
            "readers": kind_of(kind).readers,
            "action": kind_of(kind).action,
            "commands": list(kind_of(kind).commands),
        }
        for kind in ordered(counts)
    ]


def _subjects(diagnosis: Diagnosis) -> dict[str, dict[str, object]]:
    """Every chunk that is a flag's subject: what a reader calls it, where it stands, how it begins."""
    subjects = {flag.subject for flag in diagnosis.flags}
    return {
        chunk.id: {
            "name": name_of(chunk),
            "document_id": chunk.document_id,
            "place": chunk.place,
            "start": chunk.start,
            "end": chunk.end,
            "text": opening(chunk.text, SUBJECT_CHARACTERS),
        }
        for chunk in diagnosis.sample.chunks
        if chunk.id in subjects
    }


def name_of(chunk: Chunk) -> str:
    """Title and heading path of a chunk, each part once."""
    return " › ".join(dict.fromkeys((chunk.title or chunk.document_id, *chunk.headings)))


def _map_json(diagnosis: Diagnosis, drawn: CorpusMap) -> dict[str, object]:
    chunks = diagnosis.sample.chunks
    kinds: list[list[str]] = [[] for _ in drawn.members]
    for flag, points in zip(diagnosis.flags, drawn.links, strict=True):
        for point in points:
            kinds[point].append(flag.kind)
    length = POINT_CHARACTERS if len(drawn.members) <= MANY_POINTS else POINT_CHARACTERS_OF_MANY
    honesty = drawn.honesty
    points = []
    for point, members in enumerate(drawn.members):
        chunk = chunks[members[0]]
        points.append(
            {
                **({"chunk_id": chunk.id} if drawn.unit == "chunks" else {"n_chunks": len(members)}),
                "document_id": chunk.document_id,
                **_xy(drawn.positions[point]),
                "unstable": bool(honesty.is_unstable[point]),
                "flags": ordered(kinds[point]),
                "name": opening(name_of(chunk), length),
                "text": opening(chunk.text, length),
            }
        )
    return {
        "method": METHODS[drawn.method],
        "unit": drawn.unit,
        "n_shown": len(points),
        "n_total": drawn.n_total,
        "note": drawn.note,
        "trustworthiness": honesty.trustworthiness,
        "continuity": honesty.continuity,
        "knn_preservation": honesty.knn_preservation,
        "n_neighbors": honesty.k,
        "n_measured": honesty.n_measured,
        "n_runs": honesty.n_runs,
        "moved_threshold": honesty.threshold,
        "n_unstable": int(honesty.is_unstable.sum()),
        "colour": drawn.colour,
        "colourings": [{name: getattr(c, name) for name in Colouring.__slots__} for c in drawn.colourings],
        "links": drawn.links,
        "queries": [
            {"query_id": q.query_id, "text": q.text, **_xy(q.position), "nearest": q.nearest} for q in drawn.queries
        ],
        "points": points,
    }


def _xy(position: Sequence[float]) -> dict[str, float]:
    return {"x": round(float(position[0]), 4), "y": round(float(position[1]), 4)}


def _plain(value: object) -> object:
    """JSON values only: floats with six significant digits, None for those that aren't finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float):
        return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None
    return number
