"""Both token counters: the encoder's and tiktoken's."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from core.embed import Embedder
from core.errors import InputError
from core.tokens import LlmTokenizer


def test_encoder_counts_include_special_tokens(embedder: Embedder) -> None:
    tokenizer = embedder.tokenizer
    assert tokenizer.count(["hello world", ""]) == [4, 2]
    assert tokenizer.n_special_tokens == 2
    assert tokenizer.max_tokens == 256


def test_encoder_never_truncates_by_itself(embedder: Embedder) -> None:
    assert embedder.tokenizer.count(["word " * 5000]) == [5002]


def test_offsets_are_characters(embedder: Embedder) -> None:
    text = "naïve 検索 🙂 café"
    spans = embedder.tokenizer.offsets(text)
    assert [text[start:end] for start, end in spans][:3] == ["naïve", "検", "索"]
    assert spans[-1][1] == len(text)


def test_llm_counts(llm_tokenizer: LlmTokenizer) -> None:
    assert llm_tokenizer.count(["hello world", "", "<|endoftext|>"]) == [2, 0, 7]


def test_ranks_come_from_the_package_without_a_network(tmp_path: Path) -> None:
    code = f"""
        import socket
        from pathlib import Path
        def refuse(*arguments): raise AssertionError("the network was asked")
        socket.socket.connect = refuse
        from core.tokens import LlmTokenizer
        for name in ("o200k_base", "cl100k_base"):
            print(LlmTokenizer(name, Path({str(tmp_path)!r})).count(["retrieval"]))
    """
    environment = {name: value for name, value in os.environ.items() if name != "TIKTOKEN_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2


def test_unknown_encoding_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="o200k_base, cl100k_base"):
        LlmTokenizer("p50k_base")
