"""Encoder throughput and query latency beside plain `SentenceTransformer.encode`, fp32, default arguments.

Passages of about 200 tokens are cut from the Python language reference by the encoder's own tokenizer. Both encode
the same passages in turn; queries are encoded one by one, in turn as well.
"""

from __future__ import annotations

import os
import sys
from itertools import cycle, islice

import numpy as np

from benchmarks import corpus
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.machine import has_fast_matrices, shape
from benchmarks.timing import alternate, each_ms, median, percentiles
from core.embed import Embedder, open_embedder
from core.embed.weights import find_weights
from core.settings import Settings

LIBRARIES = ("openvino", "sentence-transformers", "transformers", "torch")
FAST = "This CPU has bf16 or AMX in hardware, which the encoder uses; the aim of 3.5 × for its throughput holds here."
SLOW = (
    "This CPU has neither bf16 nor AMX: both encoders compute in fp32, and the aim of 3.5 × for throughput, which is "
    "stated for CPUs that have one, isn't judged."
)
AIM_THROUGHPUT, AIM_LATENCY, AIM_COSINE = 3.5, 4.0, 0.9995


def main() -> None:
    """Measure, print, write."""
    parser = arguments("encoder", __doc__)
    parser.add_argument("--passages", type=int, default=320, help="number of passages [320]")
    parser.add_argument("--tokens", type=int, default=200, help="tokens to a passage [200]")
    parser.add_argument("--queries", type=int, default=200, help="single queries [200]")
    parser.add_argument("--rounds", type=int, default=3, help="turns over all passages [3]")
    args = parser.parse_args()
    embedder, plain = open_both(Settings())
    texts = corpus.passages(embedder.tokenizer, args.tokens)[: args.passages]
    queries = list(islice(cycle(corpus.questions()), args.queries))

    smallest = _smallest_cosine(embedder, plain, [*texts, *dict.fromkeys(queries)])  # warms both up as well
    taken = alternate(
        {"limpid": lambda: embedder.encode_documents(texts), "plain": lambda: plain.encode(texts)}, args.rounds
    )
    speed = {name: len(texts) / median(values) for name, values in taken.items()}
    latency = _latencies(embedder, plain, queries)
    is_fast = has_fast_matrices(shape())
    figures = [
        _throughput(speed, len(texts), args.tokens, is_fast),
        *(_latency(latency, share) for share in ("p50", "p95")),
        Figure(
            "smallest cosine between the two", f"{smallest:.6f}", "fp32 1", None, f"≥ {AIM_COSINE}",
            smallest >= AIM_COSINE, smallest,
        ),
    ]  # fmt: skip
    notes = [f"Runtime: {embedder.runtime}. {FAST if is_fast else SLOW}"]
    details = {"seconds": taken, "passages_per_s": speed, "latency_ms": latency, "passages": len(texts)}
    publish(Report("encoder", command_line(parser, args), figures, notes, LIBRARIES, details), args.out)


def open_both(settings: Settings) -> tuple[Embedder, object]:
    """Our encoder and plain SentenceTransformer with the same weights, on the CPU."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from sentence_transformers import SentenceTransformer

    embedder = open_embedder(settings.model, settings.cache_dir, offline=settings.offline, notify=_note)
    weights = find_weights(settings.model, settings.cache_dir, offline=settings.offline, notify=_note)
    return embedder, SentenceTransformer(str(weights.folder), device="cpu")


def _note(line: str) -> None:
    print(line, file=sys.stderr)


def _smallest_cosine(embedder: Embedder, plain, texts: list[str]) -> float:
    """Over all texts; both give vectors of length 1, theirs is normalised again to be sure."""
    theirs = plain.encode(texts)
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    return float((embedder.encode_documents(texts) * theirs).sum(axis=1).min())


def _latencies(embedder: Embedder, plain, queries: list[str]) -> dict[str, dict[str, float]]:
    """Percentiles in milliseconds, both taking turns query by query."""
    taken: dict[str, list[float]] = {"limpid": [], "plain": []}
    for call in (embedder.encode_query, plain.encode):
        each_ms(call, queries[:10])
    for query in queries:
        taken["limpid"] += each_ms(embedder.encode_query, [query])
        taken["plain"] += each_ms(plain.encode, [query])
    return {name: percentiles(values) for name, values in taken.items()}


def _throughput(speed: dict[str, float], n: int, n_tokens: int, is_fast: bool) -> Figure:
    ratio = speed["limpid"] / speed["plain"]
    return Figure(
        f"passages/s, {n} passages of {n_tokens} tokens",
        f"{speed['limpid']:.1f}",
        f"SentenceTransformer.encode {speed['plain']:.1f}",
        ratio,
        f"≥ {AIM_THROUGHPUT} × with bf16 or AMX",
        ratio >= AIM_THROUGHPUT if is_fast else None,
        speed["limpid"],
    )


def _latency(latency: dict[str, dict[str, float]], share: str) -> Figure:
    ours, theirs = latency["limpid"][share], latency["plain"][share]
    return Figure(
        f"one query, {share}",
        f"{ours:.2f} ms",
        f"SentenceTransformer.encode {theirs:.2f} ms",
        theirs / ours,
        f"≥ {AIM_LATENCY:g} ×" if share == "p50" else "–",
        theirs / ours >= AIM_LATENCY if share == "p50" else None,
        ours,
    )


if __name__ == "__main__":
    main()
