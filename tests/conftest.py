"""What many tests share: the real encoder, opened once, and settings that keep a test's index to itself."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from core.embed import Embedder, open_embedder
from core.embed.weights import DEFAULT_MODEL
from core.settings import Settings, default_cache_dir
from core.tokens import LlmTokenizer

# Where a shell started the tests in the background they ignore Ctrl-C, and so would every process that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The same examples in every run, so that a test fails where something changed; `--hypothesis-profile=random` looks on.
hypothesis_settings.register_profile("same", derandomize=True, deadline=None)
hypothesis_settings.register_profile("random", max_examples=3000, deadline=None)
hypothesis_settings.load_profile("same")


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The default encoder on the runtime that this machine gets."""
    return open_embedder(DEFAULT_MODEL, default_cache_dir(), offline=True)


@pytest.fixture(scope="session")
def llm_tokenizer() -> LlmTokenizer:
    """tiktoken's o200k_base, from the installed rank files."""
    return LlmTokenizer(cache_dir=default_cache_dir() / "tiktoken")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for an index in the test's own folder."""
    return Settings(index=str(tmp_path / "index"), offline=True)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file below the test's folder and returns its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file
