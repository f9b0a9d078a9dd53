"""Is the quality report right? Plants every fault into judged collections and counts what the diagnosis finds.

Each fault is planted at several strengths, with the untouched collection as its control, and looked for by the same
public functions that `limpid report` calls. Coefficients learnt from planted chunks are replaced, for a collection that
they were trained on, by ones that saw no collection of its family; a collection that they never saw is scored by the
shipped ones. `--train` learns them anew. Any folder of collections will do: subfolders with a corpus.jsonl each.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults import geometry, mismatch
from benchmarks.faults.learning import COEFFICIENTS, Round, learn, write
from benchmarks.faults.material import Material, read_material
from benchmarks.faults.muddy import KINDS, RATIOS, plant_muddy
from benchmarks.figures import HEADER, RESULTS, Figure, Report, arguments, command_line, publish, table
from benchmarks.judged import collection_folders
from benchmarks.learning import auroc
from benchmarks.synthetic_index import kept_or_temporary
from core.embed import Embedder, open_embedder
from core.settings import Settings
from eval.diagnose.clusters import find_merged_topics, k_means
from eval.diagnose.density import find_density
from eval.diagnose.dimensions import N_JUDGED, find_dimension_collapse
from eval.diagnose.duplicates import find_boilerplate, find_duplicates
from eval.diagnose.finding import Finding
from eval.diagnose.hubs import find_hubs
from eval.diagnose.muddy import find_muddy, load_shipped
from eval.diagnose.terms import find_unplaceable
from eval.sample import Sample

SEEDS = (0, 1)
FALSE_ALARMS = 0.05
PREVALENCE = 0.1
MIN_CHUNKS = 200  # below it the geometry isn't judged
N_TOPICS = 10
MIN_TOPIC = 30
AIMS = {
    "muddy, easy": (0.99, 0.95, 0.55), "muddy, medium": (0.95, 0.80, 0.35), "muddy, hard": (0.80, None, None),
    "duplicates, 1 template": (0.98, None, None), "duplicates, 3 templates": (0.98, None, None),
    "collapse, strong": (1.0, None, None), "collapse, half": (0.98, None, None),
}  # fmt: skip
DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- validation:begin -->", "<!-- validation:end -->"
COLUMNS = ("auroc", "average_precision", "recall", "flagged", "false_alarms")


@dataclass(frozen=True, slots=True)
class Found:
    """What the diagnosis made of one planting: scores of what holds the fault, chunks or corpora, and of the rest."""

    fault: str
    collection: str
    planted: np.ndarray
    clean: np.ndarray
    planted_flagged: float
    clean_flagged: float
    extra: dict[str, float] | None = None

    def numbers(self) -> dict[str, float]:
        """AUROC, average precision at 10% prevalence, recall at 5% false alarms, and the product's own flags."""
        limit = np.quantile(self.clean, 1 - FALSE_ALARMS)
        values = (
            auroc(self.planted, self.clean),
            average_precision(self.planted, self.clean),
            float((self.planted > limit).mean()),
            self.planted_flagged,
            self.clean_flagged,
        )
        return dict(zip(COLUMNS, map(float, values), strict=True)) | (self.extra or {})


def average_precision(planted: np.ndarray, clean: np.ndarray) -> float:
    """Average precision if a tenth of all were planted; ties count as one step."""
    from sklearn.metrics import average_precision_score

    weights = np.r_[
        np.full(len(planted), PREVALENCE / len(planted)), np.full(len(clean), (1 - PREVALENCE) / len(clean))
    ]
    answers = np.r_[np.ones(len(planted)), np.zeros(len(clean))]
    return float(average_precision_score(answers, np.r_[planted, clean], sample_weight=weights))


def main() -> None:
    """Read, plant, look, count, write; without collections it says so and ends well."""
    parser = arguments("validate", __doc__)
    parser.add_argument("collections", type=Path, nargs="?", help="folder of collections [$LIMPID_COLLECTIONS]")
    parser.add_argument("--keep", type=Path, help="folder to keep the indexes in, or to find them in")
    parser.add_argument("--train", action="store_true", help="write eval/diagnose/muddy.json")
    parser.add_argument("--only", action="append", help="name of a collection; repeatable [all]")
    args = parser.parse_args()
    folders = collection_folders(args.collections, args.only, ["corpus.jsonl"])
    if not folders:
        print("validate: skipped, no collection is named: give their folder, or set LIMPID_COLLECTIONS.")
        return
    settings = Settings()
    encoder = open_embedder(settings.model, settings.cache_dir, offline=settings.offline)
    with kept_or_temporary(args.keep) as keep:
        materials = [read_material(folder, keep) for folder in folders]
        found = [*_muddy(materials, args.train)]
        for material in materials:
            print(f"{material.name}: planting the rest", flush=True)
            found += _single(material, materials, encoder)
        variants = mismatch.study(folders, keep)
    report = _report(found, variants, materials, parser, args)
    publish(report, args.out)
    if args.out.resolve() == RESULTS.resolve():
        write_page(report, DOCS / "validation.md")


def write_page(report: Report, page: Path) -> None:
    """Put the table between the two marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    rows = table(HEADER, [figure.cells() for figure in report.figures])
    after = rest.partition(END)[2]
    page.write_text("\n".join([before + BEGIN, "", rows, "", END + after]), encoding="utf-8")
    print(f"Wrote {page}")


def _muddy(materials: Sequence[Material], train: bool) -> Iterator[Found]:
    rounds: list[Round] = []
    for material in materials:
        print(f"{material.name}: planting muddy chunks", flush=True)
        for kind in KINDS:
            planted = [plant_muddy(material, kind, materials, seed) for seed in SEEDS]
            rounds += [Round.of(material.name, material.family, kind, one) for one in planted if one]
    seen = {found.name for found in rounds} if train else set(json.loads(COEFFICIENTS.read_text())["trained_on"])
    if train:
        write(rounds)
        load_shipped.cache_clear()
    for family in sorted({found.family for found in rounds}):
        others = [found for found in rounds if found.family != family and found.name in seen]
        own = [found for found in rounds if found.family == family]
        if any(found.name in seen for found in own) and not others:
            continue  # nothing is left to learn from
        model = learn(others) if any(found.name in seen for found in own) else load_shipped()
        for found in own:
            yield from _muddy_found(found, find_muddy(found.muddied.sample, model=model))


def _muddy_found(found: Round, finding: Finding) -> Iterator[Found]:
    rows = finding.scores["muddy"]
    scored = np.array([row["score"] is not None for row in rows])
    scores = np.array([row["score"] if row["score"] is not None else np.nan for row in rows])
    flagged = np.array([row["flagged"] for row in rows])
    clean = scored & ~found.muddied.is_planted
    ratios = np.array(found.muddied.ratios)
    chunks = found.muddied.sample.chunks
    near = np.array(
        [
            any(abs(_sentence_at(chunk, row["split_at"]) - border) <= 1 for border in borders)
            for chunk, row, borders in zip(chunks, rows, found.muddied.borders, strict=True)
        ]
    )
    for ratio in ("all", *RATIOS):
        planted = scored & (found.muddied.is_planted if ratio == "all" else ratios == ratio)
        if not planted.any() or not clean.any():
            continue
        hits = planted & flagged
        yield Found(
            f"muddy, {found.kind}" + ("" if ratio == "all" else f", {ratio}"),
            found.name,
            scores[planted],
            scores[clean],
            float(flagged[planted].mean()),
            float(flagged[clean].mean()),
            {"split within one sentence": float(near[hits].mean())} if hits.any() else None,
        )


def _sentence_at(chunk, offset: int | None) -> int:
    return -9 if offset is None else sum(span.start < offset for span in chunk.sentences)


def _single(material: Material, materials: Sequence[Material], encoder: Embedder) -> Iterator[Found]:
    """All other faults, each planted by itself."""
    encode, sample, name = encoder.encode_documents, material.sample, material.name
    for n_templates in (1, 3):
        for seed in SEEDS:
            planted, is_planted = geometry.with_templates(material, n_templates, encode, seed)
            rows = find_duplicates(planted).scores["duplicate"]
            label = f"duplicates, {n_templates} template{'s' * (n_templates > 1)}"
            yield _by_flag(label, name, np.array([row["flagged"] for row in rows]), is_planted)
    planted, documents = geometry.with_footer(material, encode, 0)
    yield _boilerplate(name, planted, documents, sample)
    if len(sample) < MIN_CHUNKS:
        return
    for seed in SEEDS:
        planted, is_hub = geometry.with_hubs(sample, seed)
        yield _scored("hubs", name, find_hubs(planted).scores["hub"], "count", "flagged", is_hub)
        planted, is_crowded = geometry.with_crowd(sample, seed)
        yield _scored("crowded region", name, find_density(planted).scores["density"], "score", "crowded", is_crowded)
        for other in materials:
            if other.family != material.family and len(other) >= MIN_CHUNKS:
                planted, is_lone = geometry.with_strangers(sample, other.sample, seed)
                rows = find_density(planted).scores["density"]
                yield _scored("sparse region", name, rows, "score", "sparse", is_lone, sign=-1)
                break
    planted, names = geometry.with_terms(material, encode, 0)
    listed = find_unplaceable(planted, 0, encoder.encode_queries, encoder.tokenizer.pieces)
    yield _terms(name, listed, set(names), material)
    yield from _merged(name, sample)
    if len(sample) >= N_JUDGED:
        yield from _collapse(name, sample)


def _by_flag(fault: str, name: str, flagged: np.ndarray, is_planted: np.ndarray) -> Found:
    scores = flagged.astype(float)
    planted, clean = scores[is_planted], scores[~is_planted]
    return Found(fault, name, planted, clean, float(planted.mean()), float(clean.mean()))


def _scored(
    fault: str, name: str, rows: Sequence[dict], key: str, flag: str, is_planted: np.ndarray, sign: int = 1
) -> Found:
    scores = sign * np.array([np.nan if row[key] is None else row[key] for row in rows], dtype=float)
    flagged, known = np.array([row[flag] for row in rows]), ~np.isnan(scores)
    planted, clean = is_planted & known, ~is_planted & known
    rates = float(flagged[planted].mean()), float(flagged[clean].mean())
    return Found(fault, name, scores[planted], scores[clean], *rates)


def _boilerplate(name: str, planted: Sample, documents: set[str], clean: Sample) -> Found:
    """The share of the footer's sentences that a flag holds, and whether the clean corpus has any flag."""
    told = [text for flag in find_boilerplate(planted).flags for text in flag.evidence["sentences"]]
    found = np.array([float(any(text[:40] in line for line in told)) for text in geometry.FOOTER])
    alarm = float(bool(find_boilerplate(clean).flags))
    return Found("boilerplate", name, found, np.array([alarm]), float(found.mean()), alarm)


def _terms(name: str, finding: Finding, names: set[str], material: Material) -> Found:
    """Planted names among the terms listed; rare words of the corpus itself are no controls, so none are counted."""
    listed = set(finding.numbers.get("unplaceable", ()))
    found = np.array([float(term in listed) for term in sorted(names)])
    return Found("unplaceable terms", name, found, np.zeros(1), float(found.mean()), 0.0)


def _merged(name: str, sample: Sample) -> Iterator[Found]:
    """Pairs of clusters that the vectors tell apart, merged in full or in part; is that pair ranked first?"""
    topics = k_means(sample.vectors, N_TOPICS, 0)
    large = np.flatnonzero(np.bincount(topics) >= MIN_TOPIC)
    if len(large) < 2:
        return
    clean = find_merged_topics(sample)
    alarm = float(bool(clean.flags))
    for share, label in ((1.0, "in full"), (0.25, "a quarter")):
        first, scores = [], []
        for seed in SEEDS:
            pair = tuple(np.random.default_rng(seed).choice(large, 2, replace=False).tolist())
            finding = find_merged_topics(geometry.merged(sample, topics, pair, share, seed))
            best = finding.numbers["most_confused_pairs"][:1]
            first.append(float(bool(best) and _is_pair(sample, topics, pair, best[0]["topics"])))
            scores.append(float(bool(finding.flags)))
        yield Found(
            f"merged topics, {label}",
            name,
            np.array(scores),
            np.array([alarm]),
            float(np.mean(scores)),
            alarm,
            {"planted pair ranked first": float(np.mean(first))},
        )


def _is_pair(sample: Sample, topics: np.ndarray, pair: tuple[int, int], told: Sequence[Sequence[str]]) -> bool:
    """Whether most chunks of either topic told belong to one of the planted pair, and not both to the same."""
    of_chunk = {chunk.id: topic for chunk, topic in zip(sample.chunks, topics, strict=True)}
    mostly = [max(pair, key=lambda topic: sum(of_chunk[key] == topic for key in ids)) for ids in told]
    shares = [np.mean([of_chunk[key] == topic for key in ids]) for ids, topic in zip(told, mostly, strict=True)]
    return mostly[0] != mostly[1] and min(shares) >= 0.5


def _collapse(name: str, sample: Sample) -> Iterator[Found]:
    clean = [find_dimension_collapse(sample, seed).numbers["components_90"] for seed in SEEDS]
    alarm = float(bool(find_dimension_collapse(sample).flags))
    for strength, label in ((1.0, "strong"), (0.5, "half")):
        findings = [find_dimension_collapse(geometry.narrowed(sample, 40, strength, seed), seed) for seed in SEEDS]
        scores = -np.array([finding.numbers["components_90"] for finding in findings], dtype=float)
        flagged = float(np.mean([bool(finding.flags) for finding in findings]))
        yield Found(f"collapse, {label}", name, scores, -np.array(clean, dtype=float), flagged, alarm)


def _report(
    found: Sequence[Found],
    variants: Sequence[mismatch.Variant],
    materials: Sequence[Material],
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
) -> Report:
    by_fault: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        by_fault[one.fault][one.collection].append(one.numbers())
    details = {
        fault: {name: _mean(rounds) for name, rounds in collections.items()} for fault, collections in by_fault.items()
    }
    figures = [_figure(fault, list(collections.values())) for fault, collections in details.items()]
    notes = [
        f"{len(materials)} collections of {len({m.family for m in materials})} families. Per fault: AUROC, then the "
        f"worst collection's; average precision at {PREVALENCE:.0%} prevalence; recall at {FALSE_ALARMS:.0%} false "
        "alarms, then the worst; beside it what the report's own threshold flags, of the planted and of the clean.",
    ]
    figures += mismatch.figures(variants)
    return Report(
        "validate",
        command_line(parser, args),
        figures,
        notes,
        libraries=("scikit-learn", "scipy"),
        details={"faults": details, "mismatch": [variant.to_json() for variant in variants]},
    )


def _mean(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for numbers in rounds for name in numbers)
    return {name: float(np.mean([n[name] for n in rounds if name in n])) for name in names}


def _figure(fault: str, collections: Sequence[dict[str, float]]) -> Figure:
    mean = _mean(collections)
    worst = {name: min(numbers[name] for numbers in collections) for name in ("auroc", "recall")}
    alarms = [numbers["false_alarms"] for numbers in collections]
    extra = "".join(f"; {name} {value:.2f}" for name, value in mean.items() if name not in COLUMNS)
    aim = AIMS.get(fault)
    met = None
    if aim:
        pairs = zip((mean["auroc"], mean["recall"], worst["recall"]), aim, strict=True)
        met = all(value >= wanted for value, wanted in pairs if wanted is not None)
    told = "" if aim is None else f"AUROC ≥ {aim[0]}" + (f", recall ≥ {aim[1]}, worst ≥ {aim[2]}" if aim[1] else "")
    return Figure(
        f"{fault} ({len(collections)})",
        f"AUROC {mean['auroc']:.3f} (worst {worst['auroc']:.3f}), AP {mean['average_precision']:.2f}, recall "
        f"{mean['recall']:.2f} (worst {worst['recall']:.2f})",
        f"flagged {mean['flagged']:.2f}, clean {mean['false_alarms']:.3f} "
        f"[{min(alarms):.3f}, {max(alarms):.3f}]{extra}",
        aim=told or "–",
        met=met,
        value=mean["auroc"],
    )


if __name__ == "__main__":
    main()
