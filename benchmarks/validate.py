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
from pathlib import Path

import numpy as np

from benchmarks.faults import calibration, mismatch
from benchmarks.faults.calibration import Claims
from benchmarks.faults.cut_short import plant_cut_short
from benchmarks.faults.found import COLUMNS, FALSE_ALARMS, PREVALENCE, Found
from benchmarks.faults.learning import COEFFICIENTS, Round, learn, write
from benchmarks.faults.material import Material, read_material
from benchmarks.faults.muddy import KINDS, RATIOS, plant_muddy
from benchmarks.faults.single import SEEDS, plant_single
from benchmarks.figures import HEADER, RESULTS, Figure, Report, arguments, command_line, publish, table
from benchmarks.judged import collection_folders
from benchmarks.synthetic_index import kept_or_temporary
from core.embed import open_embedder
from core.settings import Settings
from eval.diagnose.finding import Finding
from eval.diagnose.muddy import find_muddy, load_shipped

AIMS = {
    "muddy, easy": (0.99, 0.95, 0.55), "muddy, medium": (0.95, 0.80, 0.35), "muddy, hard": (0.80, None, None),
    "duplicates, 1 template": (0.98, None, None), "duplicates, 3 templates": (0.98, None, None),
    "truncated at 64 tokens": (1.0, None, None), "truncated at 256 tokens": (1.0, None, None),
    "collapse, strong": (1.0, None, None), "collapse, half": (0.98, None, None),
}  # fmt: skip
RANKED_FIRST = "planted pair ranked first"
AIMS_FIRST = {"merged topics, in full": 1.0, "merged topics, a quarter": 0.9}
DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- validation:begin -->", "<!-- validation:end -->"


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
            found += plant_single(material, materials, encoder)
            found += plant_cut_short(material, encoder)
        variants = mismatch.study(folders, keep, encoder)
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
    claims = Claims.about(finding, found.muddied.sample, "muddy_chunk", found.muddied.is_planted)
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
            claims if ratio == "all" else None,
        )


def _sentence_at(chunk, offset: int | None) -> int:
    return -9 if offset is None else sum(span.start < offset for span in chunk.sentences)


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
        "How sure: Brier score and expected calibration error (ten bins) of the flags' confidences at the prevalence "
        "planted; beside them the mean confidence, the share of flags that is right, and that of the sure ones.",
    ]
    figures += mismatch.figures(variants)
    judged = [(one.check, one.collection, one.claims) for one in found if one.claims]
    claims = calibration.pooled([*judged, *mismatch.claims(variants)])
    figures += calibration.figures(claims)
    return Report(
        "validate",
        command_line(parser, args),
        figures,
        notes,
        libraries=("scikit-learn", "scipy"),
        details={
            "faults": details,
            "confidences": calibration.details(claims),
            "mismatch": [variant.to_json() for variant in variants],
        },
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
    if first := AIMS_FIRST.get(fault):
        met = mean[RANKED_FIRST] >= first and not any(alarms)
        told = f"first ≥ {first:.2f}, no alarm"
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
