"""What can be done about the findings of a report: planning it, doing it, and measuring whether it helped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from api.console import Console
from api.judging import score
from api.loading import progress_shown
from api.mending import BOILERPLATE, DOABLE, DUPLICATE, MUDDY, mend
from api.mending import take_back as undo
from api.reporting import diagnose_index, read_sample
from core.index import Index
from core.settings import Settings
from core.types import Flag
from eval.diagnose import Diagnosis, find_boilerplate, find_duplicates, find_muddy
from eval.diagnose.finding import opening
from eval.held_out import Probe, compare, hold_out, is_found
from eval.kinds import KINDS
from eval.sample import Sample
from ingest.shared import MIN_CHARS

# A muddy chunk this sure to be one is split by itself. A split that wasn't needed costs little and a chunk that stays
# muddy is lost to its readers, so it lies below the .7 of a verdict.
SURE = 0.3
MAX_TEXTS = 500  # repeated texts that are told from the rest of every document
N_PROBED = 100  # split chunks whose halves are asked for; each takes four more encodings
FINDERS = {MUDDY: find_muddy, BOILERPLATE: find_boilerplate, DUPLICATE: find_duplicates}


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of finding and what is to be done about it.

    `n_chunks` counts the chunks concerned, `n_encoded` those that have to be encoded, None where that isn't known
    before. `command` does it, or is what the advice amounts to where `is_doable` is False.
    """

    kind: str
    n_flags: int
    does: str
    n_chunks: int
    n_documents: int
    n_encoded: int | None
    command: str
    is_doable: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and the details that doing it takes."""

    steps: Sequence[Step]
    places: Mapping[str, int] = field(default_factory=dict)  # where muddy chunks are split, by chunk id
    texts: Sequence[str] = ()  # repeated ones
    sample: Sample | None = None

    def has(self, kind: str) -> bool:
        """Whether there is something to do about a kind."""
        return any(step.kind == kind and step.is_doable for step in self.steps)


@dataclass(frozen=True, slots=True)
class Change:
    """What was done about one kind, and the finding measured before and after.

    `found` is the share of held-out sentences that find their half (see `eval.held_out`), None where none could ask.
    """

    kind: str
    does: str
    n_flags_before: int
    n_flags_after: int
    n_chunks_before: int
    n_chunks_after: int
    found: Mapping[str, object] | None = None

    @property
    def is_better(self) -> bool:
        """Whether the finding has become rarer, and what could be measured of it not surely worse."""
        return self.n_flags_after < self.n_flags_before and not (self.found and self.found["difference"]["high"] < 0)

    def to_json(self) -> dict[str, object]:
        """As plain JSON values."""
        return asdict(self) | {"better": self.is_better, "undo": f"limpid fix --undo {self.kind}"}


def plan(
    index: Index, settings: Settings, console: Console, kinds: Sequence[str], least: float, *, drops: bool = False
) -> tuple[Plan, Diagnosis]:
    """What there is to do about the findings of these kinds, none for all, and the diagnosis it follows from.

    Raises `InputError` for an index without chunks.
    """
    diagnosis = diagnose_index(index, settings, console)
    return plan_of(diagnosis, kinds, least, drops=drops), diagnosis


def plan_of(diagnosis: Diagnosis, kinds: Sequence[str], least: float, *, drops: bool = False) -> Plan:
    """What there is to do about the findings of these kinds in a diagnosis."""
    flags: dict[str, list[Flag]] = {}
    for flag in diagnosis.flags:
        flags.setdefault(flag.kind, []).append(flag)
    places = {f.subject: f.evidence["split_at"] for f in flags.get(MUDDY, ()) if f.confidence >= least}
    texts = _repeated(diagnosis.sample, flags.get(BOILERPLATE, ()))
    makers: dict[str, Callable[[list[Flag]], list[Step]]] = {
        MUDDY: lambda found: _muddy_step(diagnosis.sample, found, places, least),
        BOILERPLATE: lambda found: _boilerplate_step(diagnosis.sample, found, texts, drops),
        DUPLICATE: lambda found: _duplicate_steps(diagnosis.sample, found),
    }
    steps: list[Step] = []
    for kind, found in flags.items():
        if not kinds or kind in kinds:
            steps += makers.get(kind, _advice)(found)
    return Plan(steps, places, texts, diagnosis.sample)


def carry_out(
    index: Index, settings: Settings, console: Console, todo: Plan, least: float, *, drops: bool
) -> list[Change]:
    """Do what the plan says can be done, one kind after the other, each measured before and after."""
    changes = []
    sample = todo.sample
    for kind in DOABLE:
        if not todo.has(kind):
            continue
        before, n_before = sample, _count(sample, kind, least)
        with progress_shown(console) as show:
            mend(index, settings, show, kind, split_places(todo), todo.texts, drops=drops)
        sample = read_sample(index, console)
        found = _probe(index, before, sample, todo.places, console) if kind == MUDDY else None
        step = next(step for step in todo.steps if step.kind == kind and step.is_doable)
        n_after = _count(sample, kind, least)
        changes.append(Change(kind, step.does, n_before, n_after, len(before), len(sample), found))
    return changes


def split_places(todo: Plan) -> dict[str, list[int]]:
    """The characters at which muddy chunks are split, by document id."""
    places: dict[str, list[int]] = {}
    for chunk in todo.sample.chunks if todo.sample else ():
        if chunk.id in todo.places:
            places.setdefault(chunk.document_id, []).append(todo.places[chunk.id])
    return places


def take_back(index: Index, settings: Settings, console: Console, kinds: Sequence[str]) -> dict[str, int]:
    """Undo the fixes of these kinds; returns how many there were of each."""
    with progress_shown(console) as show:
        return undo(index, settings, show, kinds)


def judge(
    index: Index, settings: Settings, console: Console, queries: Path, qrels: Path | None, excerpts: Path | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Every judged value: mode → metric → query id. Raises like `api.judging.score`."""
    return score(index, settings, console, queries, qrels, excerpts=excerpts).values


def judged_difference(before: Mapping, after: Mapping) -> list[dict[str, object]]:
    """The means of every mode and metric before and after, with interval and p of the paired difference."""
    rows = []
    for mode, metrics in before.items():
        for metric, values in metrics.items():
            pairs = [(values[key], after[mode][metric][key]) for key in values]
            rows.append({"mode": mode, "metric": metric, **compare(*zip(*pairs, strict=True)).to_json()})
    return rows


def _muddy_step(sample: Sample, flags: Sequence[Flag], places: Mapping[str, int], least: float) -> list[Step]:
    owners = {chunk.document_id for chunk in sample.chunks if chunk.id in places}
    n = len(places)
    does = f"split {n:,} chunks where the topic turns"
    if len(flags) > n:
        does += f" ({len(flags) - n:,} more are flagged with a confidence below {least:g})"
    return [Step(MUDDY, len(flags), does, n, len(owners), 2 * n, f"limpid fix {MUDDY} --apply", n > 0)]


def _boilerplate_step(sample: Sample, flags: Sequence[Flag], texts: Sequence[str], drops: bool) -> list[Step]:
    wanted = set(texts)
    holders = [
        (chunk.id, chunk.document_id)
        for number, chunk in enumerate(sample.chunks)
        if wanted & {_words(text) for text in sample.sentence_texts(number)}
    ]
    n = len(texts)
    verb = "leave out" if drops else "store once, naming all who hold them,"
    does = f"{verb} {n:,} repeated texts" if n else f"nothing: all are shorter than {MIN_CHARS} characters"
    command = f"limpid fix {BOILERPLATE} --apply" + " --drop" * drops
    n_documents = len({document_id for _, document_id in holders})
    return [Step(BOILERPLATE, len(flags), does, len(holders), n_documents, None, command, n > 0)]


def _duplicate_steps(sample: Sample, flags: Sequence[Flag]) -> list[Step]:
    """Equal texts of several documents can be stored once without losing anything; others are for people to decide."""
    equal = [f for f in flags if f.evidence["texts_are_equal"] and f.evidence["n_documents"] > 1]
    steps = []
    if equal:
        n_chunks = sum(flag.evidence["n_members"] for flag in equal)
        members = {member for flag in equal for member in flag.evidence["member_ids"]}
        n_documents = len({chunk.document_id for chunk in sample.chunks if chunk.id in members})
        does = f"store the text of {len(equal):,} groups of equal chunks once, naming all who hold it"
        command = f"limpid fix {DUPLICATE} --apply"
        steps.append(Step(DUPLICATE, len(equal), does, n_chunks, n_documents, None, command, True))
    if len(equal) < len(flags):
        others = [flag for flag in flags if flag not in equal]
        n_chunks = sum(flag.evidence["n_members"] for flag in others)
        does = "look at them: texts that differ, or stand twice in one document, aren't merged without you"
        steps.append(Step(DUPLICATE, len(others), does, n_chunks, 0, 0, "limpid delete ID…", False))
    return steps


def _advice(flags: Sequence[Flag]) -> list[Step]:
    """What the report says of a kind that takes a decision, a new model or better sources."""
    kind = KINDS[flags[0].kind]
    return [Step(flags[0].kind, len(flags), kind.action, len(flags), 0, 0, "; ".join(kind.commands), False)]


def _repeated(sample: Sample, flags: Sequence[Flag]) -> list[str]:
    """The repeated texts of these flags in full that are long enough to be stored by themselves, the longest first."""
    shown = {text for flag in flags for text in flag.evidence["sentences"]}
    found = {_words(text) for number in range(len(sample)) for text in sample.sentence_texts(number)}
    long_enough = (text for text in found if len(text) >= MIN_CHARS and opening(text) in shown)
    return sorted(long_enough, key=lambda text: (-len(text), text))[:MAX_TEXTS]


def _words(text: str) -> str:
    return " ".join(text.split())


def _count(sample: Sample, kind: str, least: float) -> int:
    """Flags of a kind that something would be done about."""
    flags = FINDERS[kind](sample).flags
    if kind == DUPLICATE:
        return sum(f.evidence["texts_are_equal"] and f.evidence["n_documents"] > 1 for f in flags)
    return sum(flag.confidence >= least for flag in flags)


def _probe(
    index: Index, before: Sample, after: Sample, places: Mapping[str, int], console: Console
) -> dict[str, object] | None:
    """Of every half of split chunks one sentence asks for the rest: of the chunk before, of the half after."""
    halves = {(c.document_id, c.start, c.end): row for row, c in enumerate(after.chunks)}
    probes: list[tuple[Probe, int, Probe, int]] = []
    rows = [row for row, chunk in enumerate(before.chunks) if chunk.id in places][:N_PROBED]
    for row in rows:
        chunk = before.chunks[row]
        for key, new_row in halves.items():
            if key[0] != chunk.document_id or key[1] < chunk.start or key[2] > chunk.end:
                continue
            whole, half = (hold_out(c, key[1], key[2]) for c in (chunk, after.chunks[new_row]))
            if whole and half:
                probes.append((whole, row, half, new_row))
    if not probes:
        return None
    embedder = index.embedder
    with console.progress("asking for the halves"):
        queries = np.stack([embedder.encode_query(probe[0].sentence) for probe in probes])
        rests = [embedder.encode_documents([probe[place].rest for probe in probes]) for place in (0, 2)]
    found = [
        is_found(queries, rest, [probe[place] for probe in probes], sample.vectors)
        for rest, place, sample in zip(rests, (1, 3), (before, after), strict=True)
    ]
    return compare(*found).to_json()
