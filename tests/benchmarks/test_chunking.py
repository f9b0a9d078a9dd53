"""What the chunking benchmark asks; how it scores is tested with `eval.passages`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.chunking import load_questions


def test_questions_without_excerpts_are_left_out(tmp_path: Path) -> None:
    queries = [{"_id": "q1", "text": "one?"}, {"_id": "q2", "text": "two?"}]
    excerpts = [{"query_id": "q2", "doc_id": "d", "start": start, "end": start + 5, "text": "x"} for start in (3, 9)]
    for name, lines in (("queries", queries), ("excerpts", excerpts)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (question,) = load_questions(tmp_path)
    assert (question.text, question.excerpts) == ("two?", (("d", 3, 8), ("d", 9, 14)))
