"""Whether chunkers cut where the topic turns: texts joined from unrelated sections, whose seams are known.

The sections are those of the language reference that every CPython carries (`pydoc_data.topics`), each cut off after
its first paragraphs, shuffled, joined by blank lines and stripped of headings: nothing but their meaning tells where
one ends. A seam is found where a chunk begins within one sentence of it; a cut is elsewhere where no seam is that near
(long sections have to be cut, so there always are some). The cost is the chunker's share of the processor's time for
chunking and encoding.
"""

from __future__ import annotations

import random
import re
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.corpus import topics
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from core.embed import Embedder, open_embedder
from core.settings import Settings
from core.tokens import LlmTokenizer
from core.types import Chunk, Document
from ingest.chunkers import CHUNKERS, Chunker, open_chunker
from ingest.chunkers.sentences import split_sentences
from ingest.structure import parse

SIZES = (100, 150, 200, 250)
N_DOCUMENTS, N_PARTS, SEED = 40, 6, 1
MAX_PARAGRAPHS, MIN_CHARS, MAX_CHARS = 4, 200, 3000  # of a joined section
AIM_FOUND = 0.95
AIM_SHARE = 0.05

_HEADING = re.compile(r"\n[^\n]+\n[=*~-]{4,}\n")


@dataclass(slots=True)
class Count:
    """What one chunker did with all texts."""

    n_chunks: int = 0
    n_tokens: int = 0
    n_seams: int = 0
    n_found: int = 0
    n_cuts: int = 0
    n_elsewhere: int = 0
    chunking_s: float = 0.0
    encoding_s: float = 0.0

    def add(self, text: str, seams: Sequence[int], chunks: Sequence[Chunk]) -> None:
        """Count one text's chunks."""
        starts = [span.start for span in split_sentences(text, 0, len(text))]
        cuts = [bisect_right(starts, chunk.start) for chunk in chunks[1:]]
        near = [bisect_right(starts, seam) for seam in seams]
        self.n_chunks += len(chunks)
        self.n_tokens += sum(chunk.encoder_tokens for chunk in chunks)
        self.n_seams += len(near)
        self.n_found += sum(any(abs(seam - cut) <= 1 for cut in cuts) for seam in near)
        self.n_cuts += len(cuts)
        self.n_elsewhere += sum(all(abs(seam - cut) > 1 for seam in near) for cut in cuts)


def joined_sections(n_documents: int, n_parts: int = N_PARTS) -> list[tuple[str, list[int]]]:
    """Texts of `n_parts` unrelated sections each, with the offsets at which all but the first begin."""
    parts = []
    for text in topics().values():
        for section in _HEADING.split(text):
            beginning = "\n\n".join(section.strip().split("\n\n")[:MAX_PARAGRAPHS]).strip()
            if MIN_CHARS < len(beginning) < MAX_CHARS:
                parts.append(beginning)
    random.Random(SEED).shuffle(parts)
    joined = []
    for first in range(0, min(n_documents * n_parts, len(parts) - n_parts + 1), n_parts):
        text, seams = parts[first], []
        for part in parts[first + 1 : first + n_parts]:
            seams.append(len(text) + 2)
            text += f"\n\n{part}"
        joined.append((text, seams))
    return joined


def count(chunker: Chunker, texts: Sequence[tuple[str, Sequence[int]]], embedder: Embedder) -> Count:
    """Cut all texts, as ingest does: the sentences are encoded before the chunks."""
    total = Count()
    for number, (text, seams) in enumerate(texts):
        document = Document(str(number), "", "", text, "", has_own_title=False)
        blocks = parse(text)
        begun = time.process_time()
        needed = chunker.texts(document, blocks)
        asked = time.process_time()
        vectors = dict(zip(needed, embedder.encode_documents(needed), strict=True))
        encoded = time.process_time()
        chunks = chunker.chunk(document, blocks, vectors)
        cut = time.process_time()
        sentences = (text[span.start : span.end] for chunk in chunks for span in chunk.sentences)
        rest = dict.fromkeys([*(chunk.embedding_text for chunk in chunks), *sentences])
        embedder.encode_documents([text for text in rest if text not in vectors])
        total.chunking_s += (asked - begun) + (cut - encoded)
        total.encoding_s += (encoded - asked) + (time.process_time() - cut)
        total.add(text, seams, chunks)
    return total


def main() -> None:
    """Cut, count, print, write."""
    parser = arguments("seams", __doc__)
    parser.add_argument("--documents", type=int, default=N_DOCUMENTS, help=f"joined texts [{N_DOCUMENTS}]")
    args = parser.parse_args()
    settings = Settings()
    embedder = open_embedder(settings.model, settings.cache_dir)
    llm_tokenizer = LlmTokenizer(cache_dir=settings.cache_dir / "tiktoken")
    texts = joined_sections(args.documents)
    embedder.encode_documents([text for text, _ in texts[:2]])  # what is compiled at first use isn't counted
    figures, details = [], {}
    for name in CHUNKERS:
        for size in SIZES:
            total = count(open_chunker(name, size, embedder.tokenizer, llm_tokenizer), texts, embedder)
            figures.append(_figure(name, size, total))
            details[f"{name} {size}"] = {field: getattr(total, field) for field in Count.__slots__}
            print(figures[-1].measured, figures[-1].limpid, flush=True)
    notes = [f"{len(texts)} texts of {N_PARTS} sections each. Seams found and share of the cuts that are elsewhere."]
    publish(Report("seams", command_line(parser, args), figures, notes, details=details), args.out)


def _figure(name: str, size: int, total: Count) -> Figure:
    found, share = total.n_found / total.n_seams, total.chunking_s / (total.chunking_s + total.encoding_s)
    return Figure(
        f"seams found / cuts elsewhere, {name} {size}",
        f"{found:.0%} / {total.n_elsewhere / max(1, total.n_cuts):.0%}",
        f"{total.n_chunks} chunks of {total.n_tokens / total.n_chunks:.0f} tokens, {share:.1%} of the time",
        aim=f"≥ {AIM_FOUND:.0%}, time < {AIM_SHARE:.0%}" if name == "topic" else "–",
        met=found >= AIM_FOUND and share < AIM_SHARE if name == "topic" else None,
        value=found,
    )


if __name__ == "__main__":
    main()
