"""Cross-encoders: our graph's scores are sentence-transformers' own, and a warm process does without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.embed import cross_export, graph
from core.embed.cross_encoder import open_cross_encoder
from core.embed.cross_openvino import OpenVinoCrossEncoder
from core.embed.cross_torch import TorchCrossEncoder
from core.embed.graph import PairGraph
from core.embed.weights import Weights
from core.errors import DependencyError
from tests.core.pairs import MAX_TOKENS, WORDS, make_cross_encoder

pytestmark = pytest.mark.filterwarnings("ignore")  # torch, transformers and sentence-transformers warn as they please

QUERY = "word1 word2 word3"
TEXTS = [
    "word4",
    " ".join(WORDS[:9]),
    "",
    "word7 word8 unknown",
    "word1 word2 word3",
    *(f"word{i} " * 3 for i in range(40)),
]
LONG = " ".join(WORDS[:60])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and graphs of this module."""
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def sigmoid(folder: Path) -> Path:
    return make_cross_encoder(folder / "sigmoid")


@pytest.fixture(scope="module")
def identity(folder: Path) -> Path:
    import torch

    return make_cross_encoder(folder / "identity", activation=torch.nn.Identity())


@pytest.fixture(scope="module")
def exported(folder: Path, identity: Path) -> PairGraph:
    """The graph of `identity`, made in this process."""
    (target := folder / "exported").mkdir()
    cross_export.main(str(identity), str(target))
    return PairGraph(target, MAX_TOKENS, ("input_ids", "attention_mask", "token_type_ids"))


def _theirs(model: Path, query: str, texts: list[str]) -> np.ndarray:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(model), device="cpu").predict([(query, text) for text in texts], show_progress_bar=False)


def test_scores_are_those_of_sentence_transformers(folder: Path, sigmoid: Path) -> None:
    told: list[str] = []
    encoder = open_cross_encoder(str(sigmoid), folder / "cache", notify=told.append)
    assert encoder.runtime == "openvino"
    assert encoder.max_tokens == MAX_TOKENS
    assert told == [f"Preparing {sigmoid} for this machine (once) …"]
    expected = _theirs(sigmoid, QUERY, TEXTS)
    found = encoder.score(QUERY, TEXTS)
    assert np.ptp(expected) > 0.1  # else any scores would do
    assert found.scores == pytest.approx(expected, abs=0.02 * float(np.ptp(expected)))
    assert found.scores.dtype == np.float64
    assert found.n_cut == 0
    assert encoder.score(QUERY, []).scores.shape == (0,)


def test_the_models_own_activation_is_read(identity: Path, exported: PairGraph) -> None:
    found = OpenVinoCrossEncoder(Weights("identity", identity, ""), exported).score(QUERY, TEXTS).scores
    expected = _theirs(identity, QUERY, TEXTS)
    assert not np.all((expected > 0) & (expected < 1))  # a sigmoid's would be
    assert found == pytest.approx(expected, abs=0.02 * float(np.ptp(expected)))


def test_a_graph_that_differs_is_refused(sigmoid: Path, exported: PairGraph) -> None:
    from sentence_transformers import CrossEncoder

    described = {"max_tokens": exported.max_tokens, "inputs": exported.inputs}
    with pytest.raises(ValueError, match="its exported graph differs from the original"):
        cross_export.verify(CrossEncoder(str(sigmoid), device="cpu"), exported.folder, described)


def test_what_is_too_long_is_cut_as_there_and_counted(folder: Path, sigmoid: Path) -> None:
    encoder = open_cross_encoder(str(sigmoid), folder / "cache")
    for query, texts in ((QUERY, [LONG, "word4", LONG + " word9"]), (LONG, ["word4", LONG])):
        found = encoder.score(query, texts)
        expected = _theirs(sigmoid, query, texts)
        assert found.scores == pytest.approx(expected, abs=0.02)
        assert found.n_cut == 2


def test_a_warm_process_imports_no_torch(folder: Path, sigmoid: Path) -> None:
    open_cross_encoder(str(sigmoid), folder / "cache", notify=lambda _: None)
    code = (
        "import sys; from pathlib import Path; from core.embed.cross_encoder import open_cross_encoder\n"
        f"encoder = open_cross_encoder({str(sigmoid)!r}, Path({str(folder / 'cache')!r}))\n"
        "encoder.score('word1', ['word2'])\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "openvino" in imported
    assert not imported & {"torch", "transformers", "sentence_transformers"}


def test_without_a_graph_it_runs_on_torch_and_the_reason_is_told(
    sigmoid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "ValueError: its exported graph differs"
    monkeypatch.setattr(graph, "_export", lambda *_: refused)
    told: list[str] = []
    encoder = open_cross_encoder(str(sigmoid), tmp_path / "cache", notify=told.append)
    assert encoder.runtime == "sentence-transformers (cpu)"
    assert told == [f"{sigmoid} runs on sentence-transformers, not OpenVINO: {refused}"]
    found = encoder.score(QUERY, [*TEXTS, LONG])
    assert found.scores == pytest.approx(_theirs(sigmoid, QUERY, [*TEXTS, LONG]), abs=1e-5)
    assert found.n_cut == 1
    assert encoder.max_tokens == MAX_TOKENS
    assert encoder.score(QUERY, []).scores.shape == (0,)


def test_a_classifier_is_no_reranker(folder: Path) -> None:
    model = make_cross_encoder(folder / "classes", n_labels=3)
    with pytest.raises(ValueError, match="it gives 3 scores a pair"):
        cross_export.main(str(model), str(folder))
    with pytest.raises(DependencyError, match="gives 3 scores a pair; a reranker gives one"):
        TorchCrossEncoder(Weights("classes", model, ""), "cpu")


def test_a_model_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="isn't on this machine"):
        open_cross_encoder("nobody/nothing", tmp_path, offline=True)
