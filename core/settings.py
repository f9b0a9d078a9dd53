"""Every setting, read once at the edge from `limpid.toml`, `LIMPID_*` variables and flags, in rising order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from core.embed.weights import DEFAULT_MODEL
from core.errors import ConfigError

TENANTS = "tenants"  # the folder, inside that of an embedded index, in which each tenant's own index is


def default_cache_dir() -> Path:
    """The user's cache folder for Limpid (`XDG_CACHE_HOME` is honoured)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limpid"


class Settings(BaseSettings):
    """All settings with their defaults; frozen once read."""

    model_config = SettingsConfigDict(env_prefix="LIMPID_", toml_file="limpid.toml", frozen=True, extra="forbid")

    index: str = Field("./.limpid", description="Folder of the embedded index, or the URL of a Qdrant server.")
    collection: str = Field("limpid", description="Collection on a Qdrant server.", min_length=1)
    qdrant_api_key: SecretStr | None = Field(None, description="API key of the Qdrant server.")

    model: str = Field(DEFAULT_MODEL, description="Name or folder of any sentence-transformers model.")
    device: str = Field("cpu", description="'cpu' runs the encoder with OpenVINO, 'cuda' with sentence-transformers.")
    cache_dir: Path = Field(default_factory=default_cache_dir, description="Folder for encoder graphs.")
    offline: bool = Field(False, description="Never ask a model hub.")

    chunker: Literal["structure", "topic", "fixed"] = Field(
        "structure", description="How documents are cut: structure, topic or fixed."
    )
    chunk_tokens: int = Field(200, ge=16, description="Largest chunk in encoder tokens, without its headings.")
    language: str = Field("english", description="Language of BM25's stemmer and stop words.")
    bm25_k1: float = Field(1.2, ge=0, description="BM25's term-frequency saturation.")
    bm25_b: float = Field(0.75, ge=0, le=1, description="BM25's length normalisation.")

    candidates: int = Field(100, ge=1, le=10_000, description="Candidates that each leg of a search contributes.")
    dense_weight: float = Field(0.6, ge=0, le=1, description="Weight of the dense score in the fusions that have one.")
    reranker: str | None = Field(None, description="Name or folder of any sentence-transformers CrossEncoder.")
    rerank_depth: int = Field(30, ge=1, le=200, description="Candidates that the reranker reads of each query.")

    query_log: Path | None = Field(None, description="File that keeps the features of queries for `limpid tune`.")

    max_document_mb: float = Field(100, gt=0, description="Larger files are refused, one by one.")
    max_text_mb: float = Field(20, gt=0, description="Documents with more extracted text are refused, one by one.")
    max_archive_mb: float = Field(1000, gt=0, description="Most that one archive may unpack to, nested ones included.")
    max_archive_members: int = Field(100_000, ge=1, description="Most files in one archive, nested ones included.")
    max_archive_depth: int = Field(3, ge=1, description="How deeply archives may be nested.")
    extract_timeout_s: float = Field(120, gt=0, description="Longest that the extraction of one file may take.")
    extract_memory_mb: float = Field(2000, ge=256, description="Most memory that the extraction of one file may take.")
    vector_cache_mb: float = Field(2000, ge=0, description="Largest cache of vectors on disk; 0 keeps none.")
    shared_by: int = Field(3, ge=2, description="Text that stands in this many documents is stored once.")
    min_free_mb: float = Field(256, ge=0, description="Refuse to write when less would be left free on the disk.")

    host: str = Field("127.0.0.1", description="Address that `limpid serve` listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that `limpid serve` listens on.")
    api_keys: SecretStr | None = Field(
        None, description="Comma-separated bearer keys, each SECRET or TENANT:SECRET; set, every request needs one."
    )
    keys_file: Path | None = Field(None, description="File of `limpid keys`; by default in the index' folder.")
    allowed_hosts: str = Field(
        "", description="Comma-separated host names, besides addresses and localhost, that a server without keys has."
    )
    rate_per_minute: int | None = Field(
        None, ge=1, le=1_000_000, description="Requests that a key without a rate of its own may send in a minute."
    )
    max_open_tenants: int = Field(32, ge=1, description="Tenants' indexes that `limpid serve` keeps open.")
    jobs_dir: Path = Field(
        Path("limpid-jobs"), description="Folder for uploads, jobs and reports of an index on a Qdrant server."
    )
    max_upload_mb: float = Field(200, gt=0, description="Most that one request may upload.")
    max_waiting: int = Field(64, ge=1, description="Requests that may wait while 16 are at work; more are refused.")
    chat_url: str | None = Field(
        None,
        pattern="^https?://",
        description="Address of the OpenAI-compatible server that answers chats, such as http://127.0.0.1:11434/v1.",
    )
    chat_model: str | None = Field(None, description="Name of its model.")
    chat_api_key: SecretStr | None = Field(None, description="Its key, where it needs one.")
    chat_context_tokens: int = Field(
        4000, ge=100, le=200_000, description="Most tokens of the passages that an answer is made from."
    )
    chat_rewrite: bool = Field(True, description="Let the model rewrite follow-up questions before they are searched.")
    chat_role: Literal["read", "write", "admin"] = Field(
        "read", description="Role that a key needs for chats, each of which costs the language model's time."
    )
    chat_timeout_s: float = Field(120, gt=0, description="Longest wait for the chat server's next words.")
    log_format: Literal["text", "json"] = Field("text", description="How `limpid serve` writes its log.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over variables, variables over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def without_index_choices(self) -> Settings:
        """The same settings, with all that an index remembers of itself left to the index."""
        chosen = {"model", "chunker", "chunk_tokens", "language", "bm25_k1", "bm25_b"}
        return self.model_construct(self.model_fields_set - chosen, **dict(self))

    @property
    def is_server(self) -> bool:
        """Whether the index is on a Qdrant server rather than in a folder."""
        return self.index.startswith(("http://", "https://"))


def read_settings(**flags: Any) -> Settings:
    """The settings with `flags` on top; flags that are None count as not given.

    Raises `ConfigError`, naming each wrong setting, its value's fault and where settings come from.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"{faults}. Settings come from limpid.toml, LIMPID_* variables and flags.") from None
    except ValueError as error:  # a limpid.toml that isn't TOML
        raise ConfigError(f"limpid.toml can't be read: {error}.") from None
