"""Vectors that stop early are planted as told; the figures of domain mismatch are those of hand-made variants."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.faults.cut_short import CLAIMED, cut_short
from benchmarks.faults.mismatch import Told, Variant, figures
from benchmarks.report import Stopwatch
from core.embed import Embedder
from eval.sample import collect
from tests.eval.corpus import make_chunk


def test_planted_vectors_know_the_beginning_only(embedder: Embedder) -> None:
    rows, start = [], 0
    for position, subject in enumerate(("the harbour in winter", "a violin of maple")):
        text = " ".join([f"Much is said of {subject} by those who know."] * 4)
        tokens = embedder.tokenizer.count([text])[0]
        chunk = make_chunk(f"d{position}", [text], "d", start=start, encoder_tokens=tokens)
        rows.append((chunk, embedder.encode_documents([text])[0], embedder.encode_documents([text])))
        start = chunk.end + 2
    sample = collect(rows, 256)
    cut, whole = cut_short(SimpleNamespace(sample=sample), 64, embedder)  # both are joined to exceed 96 tokens
    (joined,) = cut.chunks
    assert cut.max_tokens == whole.max_tokens == CLAIMED
    assert joined.encoder_tokens == sum(chunk.encoder_tokens for chunk in sample.chunks) > 96
    assert all(joined.between(chunk.start, chunk.end) == chunk.text for chunk in sample.chunks)
    assert float(whole.vectors[0] @ sample.vectors[1]) > float(cut.vectors[0] @ sample.vectors[1]) + 0.05
    assert float(cut.vectors[0] @ sample.vectors[0]) > 0.9


def variant(name: str, gap: float, score: float, verdict: str, is_invented: bool = False) -> Variant:
    told = Told(score, gap, verdict)
    return Variant(name, is_invented, "en", 0.5 + gap, 0.5, told, told)


def test_figures_of_mismatch_count_wrong_verdicts_and_correlations() -> None:
    variants = [
        variant("a", 0.1, 0.9, "healthy"),
        variant("b", 0.0, 0.8, "broken"),
        variant("c", -0.05, 0.7, "unsure"),
        variant("a", -0.3, 0.5, "broken", is_invented=True),
        variant("b", -0.2, 0.85, "healthy", is_invented=True),
    ]
    found = {figure.measured: figure for figure in figures(variants)}
    by_name = {name.partition(" (")[0]: figure for name, figure in found.items()}
    assert by_name["domain mismatch, corpus alone: AUROC"].value == pytest.approx(4 / 6)
    assert by_name["expected gap, with 50 queries: Spearman with the judged one, all"].value == pytest.approx(1)
    assert by_name["invented vocabulary, corpus alone: called broken"].limpid == "1 of 2"
    wrong = by_name["verdicts, with 50 queries: sound, called broken / broken, called healthy"]
    assert (wrong.limpid, wrong.met) == ("1 / 1 of 5", False)


def test_every_second_belongs_to_one_stage() -> None:
    watch = Stopwatch()
    with watch.progress("reading", 3) as advance:
        advance(1)
        advance(2, detail="sorting")
    watch.at("done")
    assert list(watch.stages) == ["the rest", "reading", "sorting"]
    assert all(np.isfinite(seconds) and seconds >= 0 for seconds in watch.stages.values())
