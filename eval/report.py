"""The quality report: one JSON document and the self-contained page made from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from core.types import Flag
from eval.diagnose import SEVERITY, Diagnosis, write_scores
from eval.diagnose.finding import opening
from eval.judged import Evaluation
from eval.map import OTHER, CorpusMap

__all__ = ["SCHEMA", "build_report", "render_html", "write_scores"]

SCHEMA = "limpid-report/1"
SURE = 0.7  # flags with less confidence are listed but don't enter the verdict
REDUNDANT_SHARE = 0.05  # copies limit retrieval once this share of the chunks is one
LOOK_FIRST = 20
CHUNK_KINDS = ("truncated", "muddy_chunk", "duplicate", "hub")  # whose subject is a chunk
FLAGS_SHOWN = 100  # of a kind on the page; the JSON has all
PASSAGE_CHARACTERS = 280

KINDS = {  # kind: singular, plural, what it means
    "domain_mismatch": ("a model that doesn't fit the corpus", "", "The encoder doesn't understand these texts."),
    "dimension_collapse": ("collapsed dimensions", "", "The vectors use too few directions to tell passages apart."),
    "merged_topics": (
        "pair of merged topics",
        "pairs of merged topics",
        "Subjects that only the words can tell apart.",
    ),
    "truncated": ("truncated chunk", "truncated chunks", "The encoder never read the end of these passages."),
    "muddy_chunk": ("muddy chunk", "muddy chunks", "Passages whose two halves speak of different things."),
    "boilerplate": ("block of boilerplate", "blocks of boilerplate", "Sentences that many documents repeat."),
    "duplicate": ("group of duplicates", "groups of duplicates", "Passages that stand in the index more than once."),
    "hub": ("hub", "hubs", "Passages that come up for nearly every query."),
}

ACTIONS = {
    "domain_mismatch": "Rely on sparse or hybrid search, and choose a model trained on this language and subject.",
    "dimension_collapse": "Check that the model fits the texts and that nothing is put in front of every passage.",
    "merged_topics": "Give sparse search more weight: the words still tell these subjects apart.",
    "truncated": "Split these passages below the encoder's limit: dense search can't see what stands beyond it.",
    "muddy_chunk": "Split each passage at the named place, so that either half gets its own vector.",
    "boilerplate": "Strip these sentences before chunking: they make unrelated passages look alike.",
    "duplicate": "Keep one passage of each group: copies take places in the result list and add no answer.",
    "hub": "Read them: a menu, a table of contents or boilerplate is better left out of the index.",
}


def build_report(
    diagnosis: Diagnosis,
    corpus_map: CorpusMap | None = None,
    evaluation: Evaluation | None = None,
    corpus: str = "",
    fingerprint: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """The report as plain JSON values; the schema is named in `schema`.

    `verdict` is one or two plain sentences. `look_first` names the chunks to read before all others. `corpus` is the
    name shown; `fingerprint` what the index was made with. `places` names each flagged chunk as a reader would.
    """
    limiting = _limiting(diagnosis)
    first = list(dict.fromkeys(flag.subject for flag in limiting if flag.kind in CHUNK_KINDS))
    return {
        "schema": SCHEMA,
        "verdict": _verdict(diagnosis, limiting, first),
        "look_first": first[:LOOK_FIRST],
        "counts": {kind: count for kind in SEVERITY if (count := sum(f.kind == kind for f in diagnosis.flags))},
        "corpus": {"name": corpus, **diagnosis.corpus},
        "flags": [{name: getattr(flag, name) for name in Flag.__slots__} for flag in diagnosis.flags],
        "places": _places(diagnosis),
        "map": _map_json(diagnosis, corpus_map) if corpus_map is not None else None,
        "evaluation": evaluation.to_json() if evaluation is not None else None,
        "fingerprint": dict(fingerprint or {}),
    }


def _places(diagnosis: Diagnosis) -> dict[str, str]:
    """Title and heading path of every chunk that a flag is about."""
    subjects = {flag.subject for flag in diagnosis.flags}
    return {
        chunk.id: " › ".join(dict.fromkeys((chunk.title or chunk.document_id, *chunk.headings)))
        for chunk in diagnosis.sample.chunks
        if chunk.id in subjects
    }


def render_html(report: Mapping[str, object]) -> str:
    """One page that opens offline: no request leaves it, and every text of the corpus is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    flags = {kind: [flag for flag in report["flags"] if flag["kind"] == kind] for kind in SEVERITY}
    points = sorted((report["map"] or {}).get("points", []), key=lambda point: bool(point["flags"]))  # marked on top
    groups = [name for name, _ in Counter(point["group"] for point in points).most_common()]
    groups.sort(key=lambda name: name == OTHER)  # stable: largest first, the rest last
    bands = (report["map"] or {}).get("bands", [])
    heights = [point["y"] for point in points] or [0.5]
    return environment.get_template("report.html.j2").render(
        report=report,
        kinds=KINDS,
        actions=ACTIONS,
        flags={kind: found for kind, found in flags.items() if found},
        shown=FLAGS_SHOWN,
        points=points,
        groups=bands or groups,
        colors={name: 7 if name == OTHER else place for place, name in enumerate(bands or groups)},
        top=min(heights),
        height=920 * (max(heights) - min(heights)) + 80,
        radius=4.5 if len(points) <= 1000 else 3.0,
        data=_script_json([[p["chunk_id"], p["group"], p["text"], p["flags"]] for p in points]),
    )


def _limiting(diagnosis: Diagnosis) -> list[Flag]:
    """The flags that enter the verdict: sure ones; copies and muddy chunks only where there are many."""
    left_out = set()
    if diagnosis.corpus["duplicates"]["n_chunks_in_groups"] < REDUNDANT_SHARE * len(diagnosis.sample):
        left_out.add("duplicate")
    if not diagnosis.corpus["muddy"]["exceeds_chance"]:
        left_out.add("muddy_chunk")
    return [flag for flag in diagnosis.flags if flag.confidence >= SURE and flag.kind not in left_out]


def _verdict(diagnosis: Diagnosis, limiting: list[Flag], first: list[str]) -> str:
    if not len(diagnosis.sample):
        return "The index is empty: there is nothing to judge yet."
    if not limiting:
        rest = len(diagnosis.flags)
        minor = "1 minor sign is" if rest == 1 else f"{rest} minor signs are"
        listed = f" {minor} listed below; a healthy corpus has some as well." if rest else ""
        return "No fault found that would limit retrieval on this corpus." + listed
    counts = Counter(flag.kind for flag in limiting)
    causes = [
        KINDS[kind][0] if not KINDS[kind][1] else f"{counts[kind]} {KINDS[kind][counts[kind] > 1]}"
        for kind in SEVERITY
        if counts[kind]
    ]
    listed = causes[0] if len(causes) == 1 else ", ".join(causes[:-1]) + " and " + causes[-1]
    advice = ""
    if first:
        shown = min(len(first), LOOK_FIRST)
        advice = " Look at this chunk first." if shown == 1 else f" Look at these {shown} chunks first."
    return f"Retrieval on this corpus is limited by {listed}.{advice}"


def _map_json(diagnosis: Diagnosis, corpus_map: CorpusMap) -> dict[str, object]:
    kinds_of: dict[str, list[str]] = {}
    for flag in diagnosis.flags:
        members = flag.evidence.get("member_ids", [flag.subject])
        for chunk_id in members:
            kinds_of.setdefault(chunk_id, []).append(flag.kind)
    points = []
    for index, place, group in zip(corpus_map.chunks, corpus_map.positions, corpus_map.groups, strict=True):
        chunk = diagnosis.sample.chunks[index]
        points.append(
            {
                "chunk_id": chunk.id,
                "document_id": chunk.document_id,
                "x": round(float(place[0]), 4),
                "y": round(float(place[1]), 4),
                "group": group,
                "flags": list(dict.fromkeys(kinds_of.get(chunk.id, []))),
                "text": opening(chunk.text, PASSAGE_CHARACTERS),
            }
        )
    return {
        "method": "t-SNE (openTSNE), PCA start, cosine",
        "n_shown": len(points),
        "n_chunks": corpus_map.n_chunks,
        "note": corpus_map.note,
        "bands": list(corpus_map.bands),
        "trustworthiness": corpus_map.trustworthiness,
        "knn_preservation": corpus_map.knn_preservation,
        "points": points,
    }


def _script_json(value: object) -> str:
    """JSON that is inert inside a script element: no <, > or & survives, nor the two line ends JavaScript knows."""
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _number(value: object, digits: int = 2) -> str:
    """A number for readers: thousands apart, few decimals, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) >= 10):
        return f"{int(value):,}"
    return f"{value:.{digits}f}".replace("-", "−")
