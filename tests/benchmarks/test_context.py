"""The benchmark of contexts: baselines that waste no token, and shares that an index of known text must give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chunking import Question
from benchmarks.context import BASELINES, BUDGETS, CITED, DEFAULT, Whole, measure
from core.index import Index, open_index
from core.settings import Settings
from core.tokens import LlmTokenizer
from ingest.pipeline import ingest
from ingest.sources import discover

SUBJECTS = ("harbour", "orchard", "library", "furnace", "glacier", "market")
ANSWER = "The heron that nests behind the old furnace returns every third of April."


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("context-benchmark")
    lines = []
    for name in SUBJECTS:
        text = " ".join(f"Somebody saw number {i} of the {name} and wrote it down at once." for i in range(60))
        lines.append({"_id": name, "title": name, "text": f"{text} {ANSWER}" if name == "furnace" else text})
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)))
    made_with = Settings(index=str(folder / "index"), offline=True)
    with open_index(made_with, create=True) as opened:
        assert not ingest(opened, discover([str(folder / "corpus.jsonl")]), made_with).failures
        yield opened


def test_whole_chunks_fill_the_budget_to_the_last_token(index: Index, llm_tokenizer: LlmTokenizer) -> None:
    whole = Whole(index, llm_tokenizer)
    ranked = [stored.chunk for batch in index.store.scan() for stored in batch]
    texts = {record.id: record.text for record in index.store.load_records(list(SUBJECTS))}
    for n_joined in (1, 2):
        found = whole.stretches(ranked, 500, n_joined)
        n_tokens = llm_tokenizer.count(["\n\n".join(texts[key][start:end] for key, start, end in found)])[0]
        assert 495 <= n_tokens <= 505  # tokens may join at the seams
        chunks = {(chunk.document_id, chunk.start, chunk.end): chunk for chunk in ranked}
        if n_joined == 1:
            assert all(stretch in chunks for stretch in found[:-1])
        else:
            assert max(end - start for _, start, end in found) > max(len(chunk.text) for chunk in ranked)


def test_shares_lie_between_none_and_all(index: Index) -> None:
    text = index.store.record("furnace").text
    start = text.index(ANSWER)
    questions = [
        Question("when does the heron return", (("furnace", start, start + len(ANSWER)),)),
        Question("when does the heron return", (("market", 0, 0 + 10), ("nowhere", 0, 10**6))),
    ]
    measured = measure(index, "made up", questions, [DEFAULT])
    assert {what for what, _ in measured.values} == {*BASELINES, DEFAULT, CITED}
    for budget in BUDGETS:
        found, missed = measured.values[DEFAULT, budget]
        assert found == 1.0
        assert missed < 1e-3


def test_without_collections_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch, tmp_path: Path) -> None:
    from benchmarks import context

    monkeypatch.delenv("LIMPID_COLLECTIONS", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["context", "--out", str(tmp_path)])
    context.main()
    assert "context: chunking_evaluation is skipped, it has no corpus.jsonl" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
