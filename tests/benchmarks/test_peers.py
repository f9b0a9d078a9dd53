"""The comparison with peers: brute force is the judge, the cheapest good setting wins, what is missing is a row."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.contenders import CONTENDERS, Limpid
from benchmarks.peers import OURS, Measured, measure, tuned
from benchmarks.synthetic import SyntheticCorpus


class Rising:
    """Stands for a child: it finds as many of ten as its setting says."""

    settings: ClassVar = (2, 5, 9, 10)

    def __init__(self, truth: list[set[str]]):
        self._truth = [sorted(ids) for ids in truth]
        self.asked: list[int] = []

    def tune(self, value: int) -> None:
        self.asked.append(value)

    def answers(self, leg: str, texts: list[str]) -> list[list[str]]:
        return [ids[: self.asked[-1]] for ids in self._truth]


class Missing(Limpid):
    """A peer whose library isn't there."""

    FOLDER = "missing"

    @staticmethod
    def build(corpus: SyntheticCorpus, folder: Path) -> float:
        import nowhere_to_be_found

        return nowhere_to_be_found.built


TRUTH = [{f"{query}-{rank}" for rank in range(10)} for query in range(3)]


@pytest.mark.parametrize(
    ("wanted", "chosen", "asked"), [(0.0, 2, [2, 2]), (0.85, 9, [2, 5, 9, 9]), (0.99, 10, [2, 5, 9, 10, 10])]
)
def test_the_cheapest_setting_that_finds_enough_is_taken(wanted: float, chosen: int, asked: list[int]) -> None:
    child = Rising(TRUTH)
    assert tuned(child, ["a", "b", "c"], TRUTH, wanted) == (chosen, pytest.approx(chosen / 10))
    assert child.asked == asked


def test_where_no_setting_finds_enough_the_best_is_taken() -> None:
    child = Rising(TRUTH)
    child.settings = (2, 7, 5)
    assert tuned(child, ["a", "b", "c"], TRUTH, 0.9) == (7, pytest.approx(0.7))
    assert child.asked[-1] == 7


def test_brute_force_finds_the_nearest_chunks() -> None:
    corpus = SyntheticCorpus(600)
    vectors = [query.vector for query in corpus.queries(3)]
    rows = np.concatenate([corpus.vectors(batch) for batch in range(corpus.n_batches)])
    expected = [{corpus.chunk_id(int(row)) for row in np.argsort(rows @ vector)[-10:]} for vector in vectors]
    assert corpus.nearest(vectors, 10) == expected


def test_a_missing_peer_is_said_to_be_and_limpid_is_measured(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(CONTENDERS, "LanceDB", Missing)
    corpus = SyntheticCorpus(300)
    measured, missing = measure(corpus, tmp_path, (OURS, "LanceDB"), 20, 10)
    assert missing == {"LanceDB": f"not installed (nowhere_to_be_found): {peers.INSTALL}"}
    assert measured.keys() == {OURS}
    ours = measured[OURS]
    assert ours.recall == 1.0  # so few chunks are scanned in full
    assert {leg: len(taken) for leg, taken in ours.taken_ms.items()} == {"dense": 20, "hybrid": 20}
    assert ours.disk_bytes > 4 * 384 * 300
    assert ours.build_s > 0


def test_a_row_says_who_is_faster_and_who_finds_more() -> None:
    ours, peer = Measured(128, 0.98, 10.0, 10**6), Measured(64, 0.99, 5.0, 10**6)
    for found, ms in ((ours, 2.0), (peer, 4.0)):
        found.taken_ms = {"dense": [ms] * 3, "hybrid": [ms] * 3}
        found.resident_mb = found.anonymous_mb = 100.0
    made = peers.rows("Chroma", {OURS: ours, "Chroma": peer}, 1_000)
    rows = {row.measured.partition(": ")[2].partition(",")[0]: row for row in made}
    assert rows["dense recall@10"].met is False
    assert rows["hybrid query"].met is True
    assert rows["hybrid query"].ratio == pytest.approx(2.0)
    assert rows["build"].ratio == pytest.approx(0.5)
    assert rows["disk"].limpid == "1.00 KB a passage"


@pytest.mark.parametrize(("name", "library"), [("LanceDB", "lancedb"), ("Chroma", "chromadb"), ("txtai", "txtai")])
def test_each_peer_that_is_installed_answers_with_the_nearest(name: str, library: str, tmp_path: Path) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is installed with the extra bench alone")
    corpus = SyntheticCorpus(500)
    measured, missing = measure(corpus, tmp_path, (OURS, name), 20, 20)
    assert not missing
    assert measured[name].recall >= 0.9
    assert len(measured[name].taken_ms["hybrid"]) == 20
