"""What changed between two reports: findings, numbers of the corpus, judged metrics, and what can't be compared."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from core.errors import InputError, NotFound
from eval.kinds import KINDS, SURE, ordered
from eval.words import SHINGLE_WORDS, shingles

READABLE = ("limpid-report/1", "limpid-report/2")  # schemas whose flags, numbers and metrics are understood
MIN_OVERLAP = 0.5  # of word triples or of characters, for a finding to be the same although its text was cut anew
_WORDLESS = {"null", "document_id", "chunk_id", "basis", "reading", "note"}  # evidence that isn't text of the corpus
_UNCOMPARED = {"name", "note", "basis"}

# Fields of a fingerprint, by what two reports that differ in them can't tell.
_INCOMPARABLE = {
    ("model", "weights", "dimension", "query_prompt", "document_prompt", "compression", "quantization"): (
        "the vectors are others, so scores and thresholds that rest on them differ in meaning. Compare the counts of "
        "sure findings and the judged metrics"
    ),
    ("chunker", "chunk_tokens", "max_tokens"): (
        "the corpus is cut into other chunks, so counts of chunks are over different passages. Compare shares, "
        "and the judged metrics"
    ),
    ("language", "bm25_k1", "bm25_b"): "words are searched otherwise. Compare the judged metrics of each mode",
}

Report = Mapping[str, object]


def load_report(path: str | Path) -> dict[str, object]:
    """A report as `limpid report --json` printed it.

    Raises NotFound for a missing file, InputError for a file that is no report or of a schema that can't be read.
    """
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no report {path}. Make one with: limpid report --json > {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} can't be read as a report: {error}. Give what limpid report --json printed."
        ) from None
    schema = report.get("schema") if isinstance(report, dict) else None
    if schema not in READABLE:
        raise InputError(
            f"{path} has the schema {schema!r}; this Limpid reads {' and '.join(READABLE)}. "
            "Make the old report anew, or compare with the Limpid that made it."
        )
    flags, corpus = report.get("flags"), report.get("corpus")
    if not isinstance(flags, list) or not isinstance(corpus, dict) or not all(map(_is_flag, flags)):
        raise InputError(f"{path} is a damaged report: it lacks flags or corpus. Make it anew.")
    return report


def compare_reports(old: Report, new: Report) -> dict[str, object]:
    """What changed from `old` to `new`, as plain JSON values: the report's `comparison`.

    Findings are matched by kind and subject. What is then left is matched within its kind: findings about the whole
    index with one another; those about a chunk with one of the same document whose text shares half of its word triples
    or half of its characters' offsets (of the shorter of both); others by the words of their subjects. The best overlap
    first, ties in the order of the reports.
    """
    pairs = _match(old, new)
    matched_old, matched_new = ({pair[side] for pair in pairs} for side in (0, 1))
    still = [_still(old, new, *pair) for pair in sorted(pairs, key=lambda pair: pair[1])]
    gone = [_named(old, flag) for i, flag in enumerate(old["flags"]) if i not in matched_old]
    added = [_named(new, flag) for i, flag in enumerate(new["flags"]) if i not in matched_new]
    return {
        "verdict": f"{_findings(len(gone))} gone, {len(added):,} new, {len(still):,} still there.",
        "old": {name: old.get(name) for name in ("schema", "verdict")} | {"name": old["corpus"].get("name")},
        "warnings": _warnings(old, new),
        "counts": _counts(old, new, gone, added, still),
        "gone": gone,
        "new": added,
        "still": still,
        "corpus": _numbers(old["corpus"], new["corpus"]),
        "judged": _judged(old.get("evaluation"), new.get("evaluation")),
    }


def _is_flag(flag: object) -> bool:
    return isinstance(flag, dict) and {"kind", "subject", "score", "confidence", "evidence"} <= flag.keys()


def _findings(count: int) -> str:
    return f"{count:,} finding is" if count == 1 else f"{count:,} findings are"


def _match(old: Report, new: Report) -> list[tuple[int, int, str]]:
    """(place in old, place in new, what they were matched by)."""
    places = defaultdict(list)
    for i, flag in enumerate(old["flags"]):
        places[flag["kind"], flag["subject"]].append(i)
    pairs, left = [], []
    for j, flag in enumerate(new["flags"]):
        same = places[flag["kind"], flag["subject"]]
        if same:
            pairs.append((same.pop(0), j, "subject"))
        else:
            left.append(j)
    blocks = defaultdict(lambda: ([], []))  # what may be matched at all: the same kind, and document where there is one
    for side, report, rest in ((0, old, sorted(i for same in places.values() for i in same)), (1, new, left)):
        for i in rest:
            flag = report["flags"][i]
            blocks[flag["kind"], _document(report, flag)][side].append(i)
    for olds, news in blocks.values():
        pairs += _match_by_overlap(old, new, olds, news)
    return pairs


def _match_by_overlap(old: Report, new: Report, olds: Sequence[int], news: Sequence[int]) -> list[tuple[int, int, str]]:
    triples = {
        (side, i): _triples(r, r["flags"][i]) for side, r, some in ((0, old, olds), (1, new, news)) for i in some
    }
    candidates = []
    for i in olds:
        for j in news:
            kind = KINDS.get(new["flags"][j]["kind"])
            text = 1.0 if kind and not kind.plural else _containment(triples[0, i], triples[1, j])
            span = _span_overlap(_subject(old, old["flags"][i]), _subject(new, new["flags"][j]))
            if max(text, span) >= MIN_OVERLAP:
                candidates.append((-text, -span, i, j))
    pairs, taken = [], (set(), set())
    for text, _, i, j in sorted(candidates):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            pairs.append((i, j, "text" if -text >= MIN_OVERLAP else "place"))
    return pairs


def _subject(report: Report, flag: Mapping) -> Mapping:
    """What the report says of a flag's chunk; empty where it is about something else, or in a report of schema 1."""
    return report.get("subjects", {}).get(flag["subject"], {})


def _document(report: Report, flag: Mapping) -> str | None:
    members = flag["evidence"].get("members") or [{}]
    first = members[0] if isinstance(members[0], dict) else {}
    return _subject(report, flag).get("document_id") or flag["evidence"].get("document_id") or first.get("document_id")


def _triples(report: Report, flag: Mapping) -> set[tuple[str, ...]]:
    """Word triples of a finding's texts; shorter texts count as they are."""
    texts = [_subject(report, flag).get("text", ""), *_strings(flag["evidence"])]
    if _document(report, flag) is None:
        texts = [flag["subject"]]
    size = SHINGLE_WORDS if _document(report, flag) is not None else 1
    return set().union(*(shingles(text, size) for text in texts))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in _WORDLESS and not name.endswith("_ids"):
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _containment(a: set, b: set) -> float:
    """The share of the smaller set that is in the other (Broder 1997); 0 where one is empty."""
    return len(a & b) / min(len(a), len(b)) if a and b else 0.0


def _span_overlap(a: Mapping, b: Mapping) -> float:
    """The share of the shorter span that the other covers; 0 where a span isn't known."""
    if "start" not in a or "start" not in b:
        return 0.0
    shared = min(a["end"], b["end"]) - max(a["start"], b["start"])
    return max(0, shared) / max(1, min(a["end"] - a["start"], b["end"] - b["start"]))


def _named(report: Report, flag: Mapping) -> dict[str, object]:
    return {
        "kind": flag["kind"],
        "subject": flag["subject"],
        "name": _subject(report, flag).get("name") or report.get("places", {}).get(flag["subject"], flag["subject"]),
        "document_id": _document(report, flag),
        "score": flag["score"],
        "confidence": flag["confidence"],
    }


def _still(old: Report, new: Report, i: int, j: int, matched_by: str) -> dict[str, object]:
    before = old["flags"][i]
    return _named(new, new["flags"][j]) | {
        "matched_by": matched_by,
        "old_subject": before["subject"],
        "old_score": before["score"],
        "old_confidence": before["confidence"],
    }


def _counts(old: Report, new: Report, gone: list, added: list, still: list) -> dict[str, dict[str, int]]:
    """For each kind in either report: findings and sure ones of both, gone, new, still there."""
    columns: dict[str, Iterable[str]] = {
        "old": (flag["kind"] for flag in old["flags"]),
        "new": (flag["kind"] for flag in new["flags"]),
        "old_sure": (flag["kind"] for flag in old["flags"] if flag["confidence"] >= SURE),
        "new_sure": (flag["kind"] for flag in new["flags"] if flag["confidence"] >= SURE),
        "gone": (finding["kind"] for finding in gone),
        "added": (finding["kind"] for finding in added),
        "still": (finding["kind"] for finding in still),
    }
    counted = {name: Counter(kinds) for name, kinds in columns.items()}
    kinds = ordered([*counted["old"], *counted["new"]])
    return {kind: {name: count[kind] for name, count in counted.items()} for kind in kinds}


def _numbers(old: Mapping, new: Mapping) -> list[dict[str, object]]:
    """Every number or word of the corpus that both reports have and that changed; sizes of the corpus always."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    rows = []
    for name, value in after.items():
        if name in before and (before[name] != value or name.startswith("n_")):
            is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (before[name], value))
            difference = value - before[name] if is_number else None
            rows.append({"name": name, "old": before[name], "new": value, "difference": difference})
    return rows


def _leaves(value: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, f"{prefix}{name}.")
        elif isinstance(inner, str | int | float) and name not in _UNCOMPARED:
            yield prefix + name, inner


def _judged(old: Mapping | None, new: Mapping | None) -> list[dict[str, object]]:
    """Means of every mode and metric that both have.

    `sure` tells that the intervals are apart: then the means differ; where they overlap, nothing is said.
    """
    rows = []
    for mode, metrics in ((new or {}).get("modes") or {}).items():
        for metric, after in metrics.items():
            before = ((old or {}).get("modes") or {}).get(mode, {}).get(metric)
            if before is not None:
                ends = {"old": _interval(before), "new": _interval(after)}
                apart = before["high"] < after["low"] or after["high"] < before["low"]
                difference = after["mean"] - before["mean"]
                rows.append({"mode": mode, "metric": metric, **ends, "difference": difference, "sure": apart})
    return rows


def _interval(value: Mapping) -> dict[str, float]:
    return {name: value[name] for name in ("mean", "low", "high")}


def _warnings(old: Report, new: Report) -> list[dict[str, object]]:
    """What makes the two incomparable, each with the fields that differ and a sentence."""
    before, after = old.get("fingerprint") or {}, new.get("fingerprint") or {}
    found = []
    if not before or not after:
        side = "old" if not before else "new"
        text = f"The {side} report doesn't say what its index was made with: whether both fit together isn't known."
        found.append({"fields": {}, "text": text})
    else:
        for names, consequence in _INCOMPARABLE.items():
            fields = {n: [before.get(n), after.get(n)] for n in names if before.get(n) != after.get(n)}
            if fields:
                said = ", ".join(f"{name} {_brief(a)} → {_brief(b)}" for name, (a, b) in fields.items())
                found.append({"fields": fields, "text": f"Made otherwise ({said}): {consequence}."})
    asked = [(report.get("evaluation") or {}).get("n_queries") for report in (old, new)]
    if None not in asked and asked[0] != asked[1]:
        text = f"Judged on other queries ({asked[0]} → {asked[1]}): the means are over different questions."
        found.append({"fields": {"n_queries": asked}, "text": text})
    return found


def _brief(value: object) -> str:
    text = str(value) if value != "" else '""'
    return text if len(text) <= 60 else text[:12] + "…"
