"""Opening indexes: what fits, what is refused, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from core.errors import ConfigError, DependencyError, IndexLocked, IndexMismatch, NotFound
from core.fingerprint import Meta
from core.index import describe, open_index
from core.settings import Settings, read_settings
from core.store import server


def test_a_new_index_remembers_how_it_was_made(settings: Settings) -> None:
    made = settings.model_copy(update={"chunk_tokens": 64})
    with open_index(made, create=True) as index:
        fingerprint = index.meta.fingerprint
    assert (fingerprint.chunk_tokens, fingerprint.dimension, fingerprint.max_tokens) == (64, 384, 256)
    with open_index(settings) as index:  # a default gives way to what the index was made with
        assert index.meta.fingerprint == fingerprint
    assert describe(settings)["fingerprint"]["chunk_tokens"] == 64


@pytest.mark.parametrize(
    ("name", "made", "asked"),
    [
        ("chunk_tokens", 100, 150),
        ("language", "english", "german"),
        ("bm25_k1", 1.2, 0.9),
        ("bm25_b", 0.75, 0.4),
        ("chunker", "structure", "fixed"),
    ],
)
def test_what_is_asked_for_must_fit(tmp_path: Path, name: str, made: object, asked: object) -> None:
    folder = str(tmp_path / "index")
    open_index(Settings(index=folder, offline=True, **{name: made}), create=True).close()
    with pytest.raises(IndexMismatch) as caught:
        open_index(Settings(index=folder, offline=True, **{name: asked}))
    assert f"{name} = {made!r}, but {asked!r} is asked for" in str(caught.value)
    assert f"limpid reindex --{name.replace('_', '-')} {asked} --index {folder}" in str(caught.value)


def test_another_schema_is_refused() -> None:
    with pytest.raises(IndexMismatch, match="schema 0, this Limpid reads schema 3"):
        Meta.from_json({"fingerprint": {"schema": 0}})


def test_no_index_says_how_to_make_one(settings: Settings) -> None:
    for attempt in (open_index, describe):
        with pytest.raises(NotFound, match="limpid ingest"):
            attempt(settings)
    assert not Path(settings.index).exists()


def test_one_process_at_a_time(settings: Settings) -> None:
    with open_index(settings, create=True), pytest.raises(IndexLocked, match="open in another process"):
        open_index(settings)
    open_index(settings).close()


def test_an_attempt_to_open_a_held_index_changes_none_of_its_files(settings: Settings) -> None:
    """The engine would clear the journals of what it takes for an abandoned folder before it looks at its lock."""

    def files() -> dict[str, int]:
        return {str(path): path.stat().st_size for path in Path(settings.index).rglob("*") if path.is_file()}

    with open_index(settings, create=True) as index:
        index.save()
        before = files()
        assert any("journal" in name for name in before)
        with pytest.raises(IndexLocked):
            open_index(settings)
        assert files() == before
        index.save()


def test_an_unknown_language_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="klingon"):
        open_index(Settings(index=str(tmp_path / "index"), offline=True, language="klingon"), create=True)
    assert not (tmp_path / "index").exists()


def test_a_server_index(monkeypatch: pytest.MonkeyPatch) -> None:
    client = QdrantClient(":memory:")
    monkeypatch.setattr(server, "connect", lambda url, key: client)
    monkeypatch.setattr(client, "close", lambda: None)  # the collection must outlive the first opening
    settings = Settings(index="http://qdrant.test:6333", collection="corpus", offline=True)
    with pytest.raises(NotFound, match="no collection 'corpus'"):
        open_index(settings)
    open_index(settings, create=True).close()
    with open_index(settings) as index:
        assert index.meta.fingerprint.model.endswith("all-MiniLM-L6-v2")
    assert describe(settings)["documents"] == 0


def test_an_absent_server_says_so() -> None:
    with pytest.raises(DependencyError, match="can't be reached"):
        open_index(Settings(index="http://127.0.0.1:9", offline=True))


def test_settings_rise_from_file_to_variable_to_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "limpid.toml").write_text("candidates = 50\nchunk_tokens = 64\nport = 1\n")
    monkeypatch.setenv("LIMPID_CHUNK_TOKENS", "96")
    monkeypatch.setenv("LIMPID_PORT", "2")
    found = read_settings(port=3, host=None)
    assert (found.candidates, found.chunk_tokens, found.port, found.host) == (50, 96, 3, "127.0.0.1")
    with pytest.raises(ConfigError, match=r"candidates.*limpid\.toml"):
        read_settings(candidates=0)
    with pytest.raises(ConfigError, match="nonsense"):
        read_settings(nonsense=1)


def test_the_analyser_is_kept_until_the_average_length_changes(settings: Settings) -> None:
    with open_index(settings, create=True) as index:
        first = index.analyzer
        assert index.analyzer is first
        index.meta.avg_len = 7.5
        assert index.analyzer.avg_len == 7.5
        one, other = first.document("a muddy pond"), index.analyzer.document("a muddy pond")
        assert one.values != other.values
