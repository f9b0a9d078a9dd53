"""Labels in an answer, and the passages behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from api.chat.schemas import Annotation, Citation, UrlCitation
from api.served import document_path
from search.rendering import Cited

SAFE_SCHEMES = ("http", "https", "ftp", "file")  # whoever wrote a document chose its address: it may be a script
_LABELS = re.compile(r"\[\d{1,6}(?:\s*[,;–-]\s*\d{1,6})*\]")  # [1], [1, 3], [1–3]
_PARTS = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")


def citations(passages: Sequence[Cited]) -> list[Citation]:
    """The passages of a context, in the order of their labels."""
    return [
        Citation(
            label=cited.label, document_id=cited.document_id, chunk_id=cited.chunk_ids[0],
            chunk_ids=list(cited.chunk_ids), title=cited.title, uri=cited.uri, headings=list(cited.headings),
            page=cited.page, last_page=cited.last_page, place=cited.place, start=cited.start, end=cited.end,
            text=cited.text,
        )
        for cited in passages
    ]  # fmt: skip


def annotations(answer: str, given: Sequence[Citation]) -> list[Annotation]:
    """Where the answer cites which of the given passages, in its order; labels that weren't given are left out."""
    by_label = {citation.label: citation for citation in given}
    return [
        Annotation(
            type="url_citation",
            url_citation=UrlCitation(
                start_index=found.start(), end_index=found.end(), title=cited.title, url=_link(cited)
            ),
        )
        for found in _LABELS.finditer(answer)
        for label in _labels(found[0], max(by_label, default=0))
        if (cited := by_label.get(label))
    ]


def _link(cited: Citation) -> str:
    """The document's address where a browser may follow it, else where this server has the document."""
    is_safe = cited.uri.partition(":")[0].lower() in SAFE_SCHEMES
    return cited.uri if is_safe else document_path(cited.document_id)


def _labels(text: str, last: int) -> Iterator[int]:
    """The labels in one pair of brackets; none is above `last`."""
    for first, end in _PARTS.findall(text):
        yield from range(int(first), min(int(end or first), last) + 1)
