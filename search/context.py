"""From a query to a context for a language model: the evidence that fits a budget of tokens, ready to be cited."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from core.errors import InputError
from core.store import Store
from core.tokens import LlmTokenizer
from core.types import Chunk, DocumentRecord, Span, place
from search.evidence import Evidence, Unit
from search.passages import MAX_GAP
from search.rendering import FORMATS, Cited, messages, render
from search.repeats import Said

ORDERS = ("document", "relevance")
REASONS = ("over_budget", "near_duplicate", "trimmed")
MAX_TOKENS = 1_000_000
SKIPS = 4  # sentences too long for what is left of the budget that are passed over before it counts as full


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Text of the evidence that isn't in the context, `n_characters` between `start` and `end`, and why.

    `over_budget`: a chunk that was found, and nothing of it fits. `near_duplicate`: sentences that a better chunk holds
    as well; `label` is the passage that says them, None where the budget left that out. `trimmed`: the chunk's other
    sentences are in the passage `label`.
    """

    reason: str
    label: int | None
    document_id: str
    chunk_id: str
    start: int
    end: int
    n_characters: int


@dataclass(frozen=True, slots=True)
class Context:
    """Passages for a prompt. `text` is all that goes there; it has `n_tokens` tokens, never more than `max_tokens`."""

    query: str
    format: str
    passage: str
    order: str
    encoding: str
    max_tokens: int
    n_tokens: int
    text: str
    passages: tuple[Cited, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict:
        """As plain JSON values, the same for the command line and HTTP; chat messages stand beside their text."""
        answer: dict = {
            "query": self.query, "format": self.format, "passage": self.passage, "order": self.order,
            "encoding": self.encoding, "max_tokens": self.max_tokens, "n_tokens": self.n_tokens, "text": self.text,
        }  # fmt: skip
        if self.format == "messages":
            answer["messages"] = messages(self.query, self.passages)
        answer["passages"] = [_cited_json(cited) for cited in self.passages]
        answer["n_left_out"] = {reason: sum(left.reason == reason for left in self.left_out) for reason in REASONS}
        answer["left_out"] = [{name: getattr(left, name) for name in LeftOut.__slots__} for left in self.left_out]
        if self.notes:
            answer["notes"] = list(self.notes)
        return answer


class Texts:
    """The documents' texts, read when a passage runs from one chunk into the next, or when its page must be found."""

    def __init__(self, store: Store):
        """Nothing is read yet."""
        self._store = store
        self._records: dict[str, DocumentRecord | None] = {}

    def record(self, chunk: Chunk) -> DocumentRecord | None:
        """The record of the chunk's document; None where that has changed since the chunk was made."""
        if chunk.document_id not in self._records:
            self._records[chunk.document_id] = self._store.record(chunk.document_id)
        record = self._records[chunk.document_id]
        return record if record and record.text[chunk.start : chunk.end] == chunk.text else None


def build_context(
    evidence: Evidence,
    record_of: Callable[[Chunk], DocumentRecord | None],
    tokenizer: LlmTokenizer,
    max_tokens: int,
    form: str = "plain",
    order: str = "document",
) -> Context:
    """The longest beginning of the evidence whose rendering fits `max_tokens`, counted on the whole text.

    Sentences are taken in the order of the evidence. Those that a better-ranked chunk holds already are left out;
    neighbours make one passage, across chunks under the same headings too, and `sentences` bridges up to two that
    weren't taken. So every cut is at the end of a sentence.
    `order` is `document` (documents by their best passage, their passages as the author placed them: the best source
    stands first, where models read best (Liu et al. 2023, "Lost in the Middle"), and the text keeps its own order,
    which helped answers in Yu et al. 2024, "In Defense of RAG in the Era of Long-Context Language Models"), or
    `relevance` (passage by passage). `record_of` gives the document of a chunk, None where it has changed.
    Raises `InputError` for an unknown format or order, and where `max_tokens` is too small for the format's wrappers.
    """
    _check(max_tokens, form, order)
    said = _repeated(evidence)
    units = [unit for unit in evidence.order if unit not in said]
    assembly = _Assembly(evidence, record_of, order)

    def text_of(taken: Iterable[Unit]) -> str:
        return render(evidence.query, assembly.passages(set(taken)), form)

    def fits(taken: Iterable[Unit]) -> bool:
        return tokenizer.count([text_of(taken)])[0] <= max_tokens

    if not fits(()):
        needed = tokenizer.count([text_of(())])[0]
        raise InputError(f"max_tokens is {max_tokens}; format {form} needs {needed} without any passage. Raise it.")
    taken = _longest(units, fits)
    passages = assembly.passages(taken)
    text = render(evidence.query, passages, form)
    notes = list(evidence.notes)
    if units and not taken:
        notes.append(f"No sentence of the evidence fits {max_tokens} tokens. Raise max_tokens.")
    return Context(
        evidence.query, form, evidence.kind, order, tokenizer.name, max_tokens, tokenizer.count([text])[0], text,
        tuple(passages), tuple(_left_out(evidence, taken, said, passages)), tuple(notes),
    )  # fmt: skip


def _check(max_tokens: int, form: str, order: str) -> None:
    if not 1 <= max_tokens <= MAX_TOKENS:
        raise InputError(f"max_tokens is {max_tokens}; it must lie between 1 and {MAX_TOKENS:,}.")
    if form not in FORMATS:
        raise InputError(f"Unknown format {form!r}; use one of {', '.join(FORMATS)}.")
    if order not in ORDERS:
        raise InputError(f"Unknown order {order!r}; use one of {', '.join(ORDERS)}.")


def _repeated(evidence: Evidence) -> dict[Unit, int]:
    """Units that an earlier chunk of another place says already, with that chunk's row.

    Sentences are judged one by one, or, where chunks come whole, all of a chunk's together.
    """
    said, found = Said(), {}
    for row, (chunk, spans) in enumerate(zip(evidence.chunks, evidence.spans, strict=True)):
        if evidence.kind in ("sentences", "best"):
            for unit, span in enumerate(spans):
                holder = said.holder(chunk.between(span.start, span.end))
                if holder is not None:
                    found[row, unit] = holder
        elif (holder := said.holder(chunk.text)) is not None:
            found |= {(row, unit): holder for unit in range(len(spans))}
        said.add(row, chunk.text)
    return found


def _longest(units: Sequence[Unit], fits: Callable[[Iterable[Unit]], bool]) -> set[Unit]:
    """As many units from the front as fit; then the next ones after one that doesn't, `SKIPS` times."""
    taken: list[Unit] = []
    at = 0
    for _ in range(SKIPS + 1):
        low, step = at, 1
        while low < len(units) and fits([*taken, *units[at : min(low + step, len(units))]]):
            low, step = min(low + step, len(units)), 2 * step
        high = min(low + step, len(units))  # units up to `low` fit, up to `high` don't
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits([*taken, *units[at:middle]]) else (low, middle)
        taken += units[at:low]
        at = low + 1
        if at >= len(units):
            break
    return set(taken)


class _Assembly:
    """Makes passages of sentences that were taken."""

    def __init__(self, evidence: Evidence, record_of: Callable[[Chunk], DocumentRecord | None], order: str):
        self._evidence = evidence
        self._record_of = record_of
        self._order = order
        self._max_gap = MAX_GAP if evidence.kind == "sentences" else 0
        chunks = evidence.chunks
        self._rows = sorted(range(len(chunks)), key=lambda row: (chunks[row].document_id, chunks[row].position))

    def passages(self, taken: set[Unit]) -> list[Cited]:
        """The passages in their order, labelled from 1."""
        stretches = list(self._stretches(taken))
        scores = [max(self._evidence.worth[unit] for unit in units if unit in taken) for units in stretches]
        best: dict[str, float] = {}
        for units, score in zip(stretches, scores, strict=True):
            document_id = self._chunk(units[0]).document_id
            best[document_id] = max(best.get(document_id, 0.0), score)

        def place_of(entry: tuple[list[Unit], float]) -> tuple:
            chunk = self._chunk(entry[0][0])
            lasting = (chunk.document_id, self._span(entry[0][0]).start)
            return (-entry[1], *lasting) if self._order == "relevance" else (-best[chunk.document_id], *lasting)

        ordered = sorted(zip(stretches, scores, strict=True), key=place_of)
        return [self._cited(label, units, score) for label, (units, score) in enumerate(ordered, start=1)]

    def _stretches(self, taken: set[Unit]) -> Iterable[list[Unit]]:
        """Units in groups that make one passage each; what is bridged is in them."""
        group: list[Unit] = []
        gap: list[Unit] = []
        last = None
        for row in self._rows:
            if group and not (last is not None and self._runs_on(last, row)):
                yield group
                group, gap = [], []
            for unit in ((row, i) for i in range(len(self._evidence.spans[row]))):
                if unit in taken:
                    group, gap = [*group, *gap, unit] if group else [unit], []
                elif group:
                    gap.append(unit)
                    if len(gap) > self._max_gap:
                        yield group
                        group, gap = [], []
            last = row
        if group:
            yield group

    def _runs_on(self, row: int, other: int) -> bool:
        """Whether a passage may run from one chunk into the other."""
        one, next_one = self._evidence.chunks[row], self._evidence.chunks[other]
        return (
            one.document_id == next_one.document_id
            and one.headings == next_one.headings
            and one.position + 1 == next_one.position
            and one.end <= next_one.start
            and not next_one.lead
            and self._record_of(one) is not None
            and self._record_of(next_one) is not None
        )

    def _cited(self, label: int, units: Sequence[Unit], score: float) -> Cited:
        first, last = self._chunk(units[0]), self._chunk(units[-1])
        rows = list(dict.fromkeys(row for row, _ in units))
        whole = [unit for row in rows for unit in ((row, i) for i in range(len(self._evidence.spans[row])))]
        is_trimmed = len(units) < len(whole)
        start = first.start if units[0][1] == 0 and not is_trimmed else self._span(units[0]).start
        end = last.end if units[-1] == whole[-1] and not is_trimmed else self._span(units[-1]).end
        page, last_page, named = first.page, last.last_page, first.place
        if len(rows) == 1:
            text = first.between(start, end)
        else:
            record = self._record_of(first)
            text = record.text[start:end] if record else ""
        if page != last_page and (record := self._record_of(first)) is not None:
            page, last_page = (bisect_right(record.page_starts, at) or None for at in (start, max(start, end - 1)))
            named = place(record.page_names, page, last_page)
        members = [self._evidence.chunks[row] for row in rows]
        return Cited(
            label, first.document_id, tuple(chunk.id for chunk in members), first.uri, first.title, first.headings,
            page, last_page, named, start, end, text, first.lead,
            tuple(dict.fromkeys(other for chunk in members for other in chunk.also_in)), round(score, 6), is_trimmed,
        )  # fmt: skip

    def _chunk(self, unit: Unit) -> Chunk:
        return self._evidence.chunks[unit[0]]

    def _span(self, unit: Unit) -> Span:
        return self._evidence.spans[unit[0]][unit[1]]


def _left_out(
    evidence: Evidence, taken: set[Unit], said: dict[Unit, int], passages: Sequence[Cited]
) -> Iterable[LeftOut]:
    """What isn't in any passage, chunk by chunk, in the order of the evidence."""
    labels: dict[str, int] = {}
    for cited in passages:
        for chunk_id in cited.chunk_ids:
            labels.setdefault(chunk_id, cited.label)
    for row, (chunk, spans) in enumerate(zip(evidence.chunks, evidence.spans, strict=True)):
        inside = [cited for cited in passages if chunk.id in cited.chunk_ids]
        out = [
            (unit, span) for unit, span in enumerate(spans)
            if not any(cited.start <= span.start and span.end <= cited.end for cited in inside)
        ]  # fmt: skip
        holders = sorted({said[row, unit] for unit, _ in out if (row, unit) in said})
        for holder in holders:
            repeated = [span for unit, span in out if said.get((row, unit)) == holder]
            yield _left(chunk, "near_duplicate", labels.get(evidence.chunks[holder].id), repeated)
        others = [span for unit, span in out if (row, unit) not in said]
        if others and chunk.id in labels:
            yield _left(chunk, "trimmed", labels[chunk.id], others)
        elif others and row < evidence.n_hits:
            yield _left(chunk, "over_budget", None, others)


def _left(chunk: Chunk, reason: str, label: int | None, spans: Sequence[Span]) -> LeftOut:
    n_characters = sum(span.end - span.start for span in spans)
    return LeftOut(reason, label, chunk.document_id, chunk.id, spans[0].start, spans[-1].end, n_characters)


def _cited_json(cited: Cited) -> dict:
    values = {name: getattr(cited, name) for name in Cited.__slots__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
