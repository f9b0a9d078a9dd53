"""Evidence per token: how much of what answers a question stands in contexts of 500, 1,000 and 2,000 tokens.

Measured for each question is the share of the judged excerpts' characters that lies inside the context's passages, and
whether all of them do; means with 95% bootstrap intervals, differences with paired ones. Compared are

- Limpid's default context, with everything that it puts into the prompt: labels, titles, headings and places;
- the best whole chunks of at most 200 encoder tokens, best first, and nothing but their text: the last one is cut at
  the very character where the budget ends, so that no token is lost;
- the same with chunks of at most 400: two neighbouring ones, since the encoder reads no more than 256 at once; a pair
  stands where its better chunk does;
- the best chunks of 200 with labels, titles and places like Limpid's, the last one cut at the end of a sentence: what
  it takes to cite whole chunks (`--passage chunk`).

All rest on one index and one ranking. Tokens are tiktoken's, o200k_base. The other kinds of passage are in the JSON.

The defaults (`search.evidence`: kind, reach of a good sentence, neighbouring chunks, number of chunks read) were
chosen on libafl_code, on answers of stackfaq joined to long documents, and on xquad_en. Those rows are marked
"chosen on"; chunking_evaluation, xquad_de and xquad_zh were looked at only when nothing was changed any more. The
questions of xquad_de and xquad_zh are translations of xquad_en's, and documents there are single paragraphs, so
chunking_evaluation is the one row that says how it does elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.chunking import FILES, Question, load_questions
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.synthetic_index import kept_or_temporary
from core.index import Index, open_index
from core.settings import Settings
from core.tokens import LlmTokenizer
from core.types import Chunk
from eval.passages import Stretch, score
from eval.significance import bootstrap_interval, paired_randomization
from ingest.pipeline import ingest
from ingest.sources import discover
from search.context import Texts, build_context
from search.evidence import KINDS, gather
from search.passages import POOL
from search.retriever import Retriever

COLLECTIONS = ("chunking_evaluation", "xquad_de", "xquad_zh", "libafl_code", "xquad_en")
CHOSEN_ON = {"libafl_code", "xquad_en"}
BUDGETS = (500, 1000, 2000)
CHUNK_TOKENS = 200
BASELINES = ("chunks of 200", "chunks of 400")
DEFAULT = KINDS[0]
CITED = "chunk"  # the kind of passage that is compared with the default

Values = dict[tuple[str, int], np.ndarray]  # by what was measured and budget: float64, shape (n_questions,)


@dataclass(frozen=True, slots=True)
class Measured:
    """Shares of evidence found, and what the default took for a context of the largest budget, in milliseconds."""

    collection: str
    values: Values
    took_ms: np.ndarray


class Whole:
    """Whole chunks, or pairs of neighbours, filled into a budget."""

    def __init__(self, index: Index, tokenizer: LlmTokenizer):
        """Reads all chunks and texts once."""
        self._tokenizer = tokenizer
        self._chunks = {
            (stored.chunk.document_id, stored.chunk.position): stored.chunk
            for batch in index.store.scan()
            for stored in batch
        }
        self._texts = {record.id: record.text for record in index.store.load_records([key for key, _ in self._chunks])}

    def stretches(self, ranked: Sequence[Chunk], budget: int, n_joined: int) -> list[Stretch]:
        """What of the best chunks fits; the last one in part. A blank line between two counts as one token."""
        found: list[Stretch] = []
        left = budget
        for document_id, start, last in dict.fromkeys(self._joined(chunk, n_joined) for chunk in ranked):
            end = start + self._fitting(self._texts[document_id][start:last], left)
            if end > start:
                found.append((document_id, start, end))
                left -= self._count(self._texts[document_id][start:end]) + 1
            if left <= 0:
                break
        return found

    def _joined(self, chunk: Chunk, n_joined: int) -> Stretch:
        """The chunk's group of `n_joined` neighbours, counted from the document's start."""
        first = chunk.position - chunk.position % n_joined
        members = [self._chunks.get((chunk.document_id, first + i)) for i in range(n_joined)]
        held = [member for member in members if member]
        return chunk.document_id, held[0].start, held[-1].end

    def _fitting(self, text: str, budget: int) -> int:
        """The most characters of the text that have no more than `budget` tokens."""
        low, high = 0, len(text) + 1
        if self._count(text) <= budget:
            return len(text)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._count(text[:middle]) <= budget else (low, middle)
        return low

    def _count(self, text: str) -> int:
        return self._tokenizer.count([text])[0]


def main() -> None:
    """Ingest, build contexts, score, print, write; collections that aren't there are named and left out."""
    parser = arguments("context", __doc__)
    parser.add_argument("collections", nargs="*", default=COLLECTIONS, help=f"folders [{' '.join(COLLECTIONS)}]")
    parser.add_argument("--questions", type=int, default=0, help="of each collection, evenly chosen; 0 for all")
    parser.add_argument("--kinds", nargs="+", default=KINDS, help=f"kinds of passage [{' '.join(KINDS)}]")
    parser.add_argument("--keep", type=Path, help="folder to keep the indexes in, or to find them in")
    args = parser.parse_args()
    measured = []
    with kept_or_temporary(args.keep) as keep:
        for folder in _folders(args.collections):
            questions = load_questions(folder)
            if args.questions:
                questions = questions[:: max(1, len(questions) // args.questions)][: args.questions]
            with _open(keep / f"{folder.name}-structure-{CHUNK_TOKENS}", folder) as index:
                measured.append(measure(index, folder.name, questions, args.kinds))
    if measured:
        publish(_report(measured, command_line(parser, args)), args.out)


def _folders(names: Sequence[str]) -> Iterator[Path]:
    root = os.environ.get("LIMPID_COLLECTIONS")
    for name in names:
        folder = Path(root) / name if root and not Path(name).is_dir() else Path(name)
        missing = [file for file in FILES if not (folder / file).is_file()]
        if missing:
            print(
                f"context: {name} is skipped, it has no {', '.join(missing)}; name its folder or $LIMPID_COLLECTIONS."
            )
        else:
            yield folder


def _open(folder: Path, collection: Path) -> Index:
    """The collection's index, brought in step with it."""
    settings = Settings(index=str(folder), chunk_tokens=CHUNK_TOKENS)
    index = open_index(settings, create=True)
    print(f"{collection.name}: {ingest(index, discover([str(collection / 'corpus.jsonl')]), settings)}", flush=True)
    return index


def measure(index: Index, name: str, questions: Sequence[Question], kinds: Sequence[str] = KINDS) -> Measured:
    """The share of evidence found for each question, by kind of passage or baseline and budget."""
    tokenizer = LlmTokenizer(cache_dir=Settings().cache_dir / "tiktoken")
    retriever, whole = Retriever(index), Whole(index, tokenizer)
    found: dict[tuple[str, int], list[float]] = {}
    took_ms = []

    def add(what: str, budget: int, stretches: Sequence[Stretch], question: Question) -> None:
        found.setdefault((what, budget), []).append(score(stretches, question.excerpts)[0])

    for question in questions:
        ranked = [hit.chunk for hit in retriever.search(question.text, k=POOL).hits]
        for budget in BUDGETS:
            for what, n_joined in zip(BASELINES, (1, 2), strict=True):
                add(what, budget, whole.stretches(ranked, budget, n_joined), question)
        for kind in dict.fromkeys((DEFAULT, CITED, *kinds)):
            started = time.perf_counter()
            evidence = gather(index, retriever, question.text, kind)
            for budget in reversed(BUDGETS):
                context = build_context(evidence, Texts(index.store).record, tokenizer, budget)
                if kind == DEFAULT and budget == BUDGETS[-1]:
                    took_ms.append(1000 * (time.perf_counter() - started))
                assert context.n_tokens <= budget
                add(kind, budget, [(cited.document_id, cited.start, cited.end) for cited in context.passages], question)
    values = {key: np.array(shares) for key, shares in found.items()}
    for what in dict.fromkeys(what for what, _ in values):
        print(f"{name} {what:14}", *(f"{_both(values[what, budget])}" for budget in BUDGETS), sep="  ", flush=True)
    return Measured(name, values, np.array(took_ms))


def _both(shares: np.ndarray) -> str:
    return f"{100 * shares.mean():.1f} / {100 * _all(shares).mean():.1f}"


def _all(shares: np.ndarray) -> np.ndarray:
    """Whether all evidence was found, as 0 or 1; the share is exact where it is."""
    return (shares >= 1).astype(np.float64)


def _report(measured: Sequence[Measured], command: str) -> Report:
    figures, details = [], []
    for one in measured:
        for budget in BUDGETS:
            ours = one.values[DEFAULT, budget]
            gains = {what: _gain(ours, one.values[what, budget]) for what in (*BASELINES, CITED)}
            marked = " (chosen on)" if one.collection in CHOSEN_ON else ""
            figures.append(
                Figure(
                    f"% of the evidence / of questions with all of it, {one.collection}{marked}, {budget:,} tokens",
                    _with_interval(ours),
                    "; ".join(
                        f"{'cited chunks' if what == CITED else what}: {_both(one.values[what, budget])} "
                        f"({100 * gain['mean']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}])"
                        for what, gain in gains.items()
                    ),
                    aim="> all, surely",
                    met=all(gain["low"] > 0 for gain in gains.values()),
                    value=float(ours.mean()),
                )
            )
            details.append(_detail(one, budget, gains))
    took = np.concatenate([one.took_ms for one in measured])
    p50, p95 = np.quantile(took, (0.5, 0.95))
    text = f"{p50:.0f} / {p95:.0f}"
    figures.append(Figure(f"ms for a context of {BUDGETS[-1]:,} tokens, search included, p50 / p95", text, value=p50))
    notes = [
        "Beside stand the best whole chunks, text alone, filled to the last character, and the same chunks of 200 with "
        "labels and titles, as Limpid's contexts have them within the budget; in parentheses Limpid's gain with its "
        "paired 95% interval. Met where all three lie above 0."
    ]
    return Report("context", command, figures, notes, ("tiktoken",), {"rows": details})


def _with_interval(shares: np.ndarray) -> str:
    found, complete = bootstrap_interval(shares), bootstrap_interval(_all(shares))
    return " / ".join(f"{100 * i.mean:.1f} [{100 * i.low:.1f}, {100 * i.high:.1f}]" for i in (found, complete))


def _gain(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    return bootstrap_interval(ours - theirs).to_json() | {"p": paired_randomization(ours, theirs)}


def _detail(one: Measured, budget: int, gains: dict[str, dict[str, float]]) -> dict:
    shares: Callable[[str], dict] = lambda what: {  # noqa: E731
        "share": bootstrap_interval(one.values[what, budget]).to_json(),
        "complete": bootstrap_interval(_all(one.values[what, budget])).to_json(),
    }
    return {
        "collection": one.collection,
        "chosen_on": one.collection in CHOSEN_ON,
        "n_questions": len(one.values[DEFAULT, budget]),
        "budget": budget,
        "found": {what: shares(what) for what, at in one.values if at == budget},
        "gains": gains,
    }


if __name__ == "__main__":
    main()
