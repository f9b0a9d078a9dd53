"""All faults but muddy chunks and mismatch, each planted by itself, looked for and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.faults import geometry, texts
from benchmarks.faults.calibration import Claims
from benchmarks.faults.found import Found
from benchmarks.faults.material import Material
from core.embed import Embedder
from eval.diagnose.clusters import find_merged_topics
from eval.diagnose.density import find_density
from eval.diagnose.dimensions import N_JUDGED, find_dimension_collapse
from eval.diagnose.duplicates import find_boilerplate, find_duplicates
from eval.diagnose.finding import Finding
from eval.diagnose.hubs import find_hubs
from eval.diagnose.terms import FOUND_WITHIN, find_unplaceable, term_ranks
from eval.neighbours import nearest_rows
from eval.sample import Sample

SEEDS = (0, 1)
MERGES = range(3)
MIN_CHUNKS = 200  # below it the geometry isn't judged
N_TOPICS, CHUNKS_PER_TOPIC = 12, 50
TEMPLATES = {"1 template": 1, "3 templates": 3}
CHANGED = {"every tenth word changed": 0.1, "every fifth word changed": 0.2}
LISTED = {"list of 20": 20, "list of 200": 200, "list of everything": 10**9}
HUB = 5  # times as many queries as the mean chunk has: a list that reaches fewer is no hub
CROWDS = (0.95, 0.9, 0.8)
FOOTERS = {"a tenth of the documents": 0.1, "a fiftieth": 0.02}
SHARES = {"in full": 1.0, "a quarter": 0.25}
STRENGTHS = {"strong": 1.0, "half": 0.5}
AXES_KEPT = 40


def plant_single(material: Material, materials: Sequence[Material], encoder: Embedder) -> Iterator[Found]:
    """What the diagnosis finds of each fault in one collection; `materials` lend it strangers."""
    found = [*_texts(material, encoder)]
    if len(material) >= MIN_CHUNKS:
        others = [other.sample for other in materials if other.family != material.family]
        found += [*_places(material.name, material.sample, others), *_merged(material.name, material.sample)]
        found.append(_terms(material, encoder))
    if len(material) >= N_JUDGED:
        found += _collapse(material.name, material.sample)
    yield from (one for one in found if one is not None)


def _texts(material: Material, encoder: Embedder) -> Iterator[Found | None]:
    encode, name = encoder.encode_documents, material.name
    own = ~texts.copied(material.sample)
    for seed in SEEDS:
        for label, n_templates in TEMPLATES.items():
            planted, at = texts.with_templates(material, n_templates, encode, seed)
            yield _duplicates(f"duplicates, {label}", name, planted, at, own)
        for label, changed in CHANGED.items():
            planted, at = texts.with_copies(material, changed, seed)
            yield _duplicates(f"duplicates, {label}", name, planted, at, own)
    for label, share in FOOTERS.items():
        yield _boilerplate(f"boilerplate, {label}", name, texts.with_footer(material, share, encode, 0)[0])


def _duplicates(fault: str, name: str, planted: Sample, at: np.ndarray, own: np.ndarray) -> Found | None:
    finding = find_duplicates(planted)
    claims = Claims.about(finding, planted, "duplicate", at, own)
    rows = finding.scores["duplicate"]
    return Found.scored(fault, name, rows, ("score", "flagged"), at, is_control=own, claims=claims)


def _boilerplate(fault: str, name: str, planted: Sample) -> Found:
    """The footer's sentences, and as controls all other distinct ones: is there a flag that tells them?"""
    flags = find_boilerplate(planted).flags
    lines_of = [[line.rstrip("…") for line in flag.evidence["sentences"]] for flag in flags]
    told = [line for lines in lines_of for line in lines]
    is_footer = [any(text.startswith(line) for line in lines for text in texts.FOOTER) for lines in lines_of]
    claims = Claims.of(zip((flag.confidence for flag in flags), is_footer, strict=True))
    sentences = {" ".join(text.split()) for i in range(len(planted)) for text in planted.sentence_texts(i)}
    footer = np.array([float(any(text.startswith(line) for line in told)) for text in texts.FOOTER])
    rest = np.zeros(len(sentences - set(texts.FOOTER)))
    rest[: sum(not any(text.startswith(line) for text in texts.FOOTER) for line in told)] = 1
    return Found(fault, name, footer, rest, float(footer.mean()), float(rest.mean()), claims=claims)


def _places(name: str, sample: Sample, others: Sequence[Sample]) -> Iterator[Found | None]:
    for seed in SEEDS:
        for label, n_listed in LISTED.items():
            planted, at = geometry.with_hubs(sample, n_listed, seed)
            is_hub = at & (geometry.occurrence(planted) >= HUB)
            found = find_hubs(planted)
            claims = Claims.about(found, planted, "hub", is_hub, ~at)
            rows, columns = found.scores["hub"], ("count", "flagged")
            yield Found.scored(f"hubs, {label}", name, rows, columns, is_hub, is_control=~at, claims=claims)
        for cosine in CROWDS:
            planted, at = geometry.with_crowd(sample, cosine, seed)
            found = find_density(planted)
            claims = Claims.about(found, planted, "crowded_region", at)
            rows, columns = found.scores["density"], ("crowded_score", "crowded")
            yield Found.scored(f"crowded region, cosine {cosine}", name, rows, columns, at, claims=claims)
        if others:
            planted, at = geometry.with_strangers(sample, others, seed)
            found = find_density(planted)
            claims = Claims.about(found, planted, "sparse_region", at)
            rows, columns = found.scores["density"], ("sparse_score", "sparse")
            yield Found.scored("sparse region", name, rows, columns, at, sign=-1, claims=claims)


def _terms(material: Material, encoder: Embedder) -> Found | None:
    """Names that a question doesn't find by its vector are planted faults, those that it does find are controls."""
    planted, holders = texts.with_terms(material, encoder.encode_documents, 0)
    asked = encoder.encode_queries([f"What is known about {term}?" for term in holders]) @ planted.vectors.T
    ranks = [1 + int((row > row[i]).sum()) for row, i in zip(asked, holders.values(), strict=True)]
    finding = find_unplaceable(planted, 0, encoder.encode_queries, encoder.tokenizer.pieces)
    listed = set(finding.numbers.get("unplaceable", ()))
    alone = term_ranks(planted, list(holders), {term: [i] for term, i in holders.items()}, encoder.encode_queries)
    rows = [
        {"score": float(rank), "flagged": term in listed} for term, rank in zip(holders, alone.tolist(), strict=True)
    ]
    is_lost = np.array(ranks) > FOUND_WITHIN
    lost = dict(zip(holders, is_lost.tolist(), strict=True))
    claims = Claims.of((flag.confidence, lost[flag.subject]) for flag in finding.flags if flag.subject in lost)
    return Found.scored("unplaceable terms", material.name, rows, ("score", "flagged"), is_lost, claims=claims)


def _merged(name: str, sample: Sample) -> Iterator[Found]:
    """Topics that words tell apart, one of them moved onto the other: is that pair ranked first, and flagged?"""
    topics = geometry.lexical_topics(sample, min(N_TOPICS, len(sample) // CHUNKS_PER_TOPIC), 0)
    pairs = geometry.apart(sample, topics)
    if not pairs:
        return
    clean = find_merged_topics(sample)
    alarm = float(bool(clean.flags))
    unplanted = np.array([_first(clean)["score"]])
    for label, share in SHARES.items():
        first, scores, flagged = [], [], []
        judged = [(flag.confidence, False) for flag in clean.flags]
        for seed in MERGES:
            pair = pairs[int(np.random.default_rng(seed).integers(len(pairs)))]
            planted, moved = geometry.merged(sample, topics, pair, share, seed)
            finding = find_merged_topics(planted)
            best = _first(finding)
            first.append(_is_planted(planted, moved, topics == pair[0], best["misplaced_ids"]))
            scores.append(best["score"])
            flagged.append(float(bool(finding.flags)))
            for flag, told in zip(finding.flags, finding.numbers["most_confused_pairs"], strict=False):  # same order
                judged.append((flag.confidence, _is_planted(planted, moved, topics == pair[0], told["misplaced_ids"])))
        extra = {"planted pair ranked first": float(np.mean(first))}
        rates = float(np.mean(flagged)), alarm
        yield Found(f"merged topics, {label}", name, np.array(scores), unplanted, *rates, extra, Claims.of(judged))


def _first(finding: Finding) -> Mapping[str, Any]:
    """The pair ranked first; where no two topics are large enough, one without evidence."""
    return next(iter(finding.numbers["most_confused_pairs"]), {"score": 0.0, "misplaced_ids": ()})


def _is_planted(sample: Sample, moved: np.ndarray, hosts: np.ndarray, ids: Sequence[str]) -> bool:
    """Whether most of the chunks told were moved, or belong to the topic moved onto and now stand among the moved."""
    place = {chunk.id: i for i, chunk in enumerate(sample.chunks)}
    rows = np.array([place[key] for key in ids], dtype=int)
    if not len(rows):
        return False
    near, _ = nearest_rows(sample.vectors[rows], sample.vectors, geometry.N_NEAR, own=rows)
    return bool(np.mean(moved[rows] | (hosts[rows] & (moved[near].mean(axis=1) >= 0.3))) >= 0.5)


def _collapse(name: str, sample: Sample) -> Iterator[Found]:
    clean = [find_dimension_collapse(sample, seed) for seed in SEEDS]
    alarm = float(bool(find_dimension_collapse(sample).flags))
    for label, strength in STRENGTHS.items():
        findings = [
            find_dimension_collapse(geometry.narrowed(sample, AXES_KEPT, strength, seed), seed) for seed in SEEDS
        ]
        scores = -np.array([finding.numbers["components_90"] for finding in findings], dtype=float)
        flagged = float(np.mean([bool(finding.flags) for finding in findings]))
        judged = [(flag.confidence, True) for finding in findings for flag in finding.flags]
        judged += [(flag.confidence, False) for finding in clean for flag in finding.flags]
        components = -np.array([finding.numbers["components_90"] for finding in clean], dtype=float)
        yield Found(f"collapse, {label}", name, scores, components, flagged, alarm, claims=Claims.of(judged))
