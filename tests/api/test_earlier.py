"""Results of earlier reports: used again only where nothing has changed, and never in the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import eval.diagnose
import eval.map
from api.earlier import FOLDER, Earlier
from core.errors import LimpidError
from tests.api.command import Command

RESULT = {"numbers": [0.1 + 0.2, float("nan"), None], "text": "é"}


def made_by(earlier: Earlier, key: str = "k", name: str = "n") -> list[str]:
    """Ask for a result; tells how often it had to be made."""
    asked: list[str] = []

    def make() -> dict:
        asked.append(key)
        return RESULT

    assert repr(earlier(name, key, make)) == repr(RESULT)
    return asked


def test_a_result_is_made_once_for_its_name_key_and_context(tmp_path: Path):
    earlier = Earlier(tmp_path / FOLDER, "one")
    assert made_by(earlier) == ["k"]
    assert made_by(Earlier(tmp_path / FOLDER, "one")) == []
    assert made_by(earlier, name="other") == ["k"]
    assert made_by(Earlier(tmp_path / FOLDER, "two")) == ["k"]
    assert made_by(earlier, "l") == ["l"]
    assert made_by(earlier) == ["k"]  # the last one alone is kept
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["n.json.gz", "other.json.gz"]


@pytest.mark.parametrize("damage", [b"", b"no gzip", slice(0, -9), slice(0, 15), slice(0, 4)])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes | slice):
    earlier = Earlier(tmp_path)
    made_by(earlier)
    path = tmp_path / "n.json.gz"
    path.write_bytes(path.read_bytes()[damage] if isinstance(damage, slice) else damage)
    assert made_by(earlier) == ["k"]
    assert made_by(earlier) == []


def test_without_a_place_nothing_is_kept(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way", encoding="utf-8")
    for earlier in (Earlier(None), Earlier(blocked), Earlier(tmp_path / "no" / "folder")):
        assert made_by(earlier) == made_by(earlier) == ["k"]


def test_numbers_of_numpy_are_kept_as_what_they_are(tmp_path: Path):
    made = {"a": np.float32(0.1), "b": np.int64(3), "c": np.bool_(True)}
    Earlier(tmp_path)("n", "k", lambda: made)
    assert Earlier(tmp_path)("n", "k", dict) == {"a": float(np.float32(0.1)), "b": 3, "c": True}


def test_a_report_is_the_same_with_and_without(
    limpid: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise LimpidError("It was computed anew.")

    assert limpid("ingest", corpus).code == 0
    first = limpid("report", "--json")
    with monkeypatch.context() as patched:
        patched.setattr(eval.diagnose, "find_muddy", fails)
        patched.setattr(eval.map, "assess", fails)
        assert limpid("report", "--json").out == first.out
        assert limpid("fix").code == 0
        (tmp_path / ".limpid" / FOLDER / "muddy.json.gz").write_bytes(b"damaged")
        assert "computed anew" in limpid("report").err
    page = (tmp_path / "report.html").read_bytes()
    (corpus / "bread.txt").unlink()
    assert limpid("ingest", corpus, "--prune").code == 0
    changed = limpid("report", "--json")
    assert changed.out != first.out
    monkeypatch.setattr("api.earlier.FOLDER", "another")
    monkeypatch.setenv("LIMPID_VECTOR_CACHE_MB", "0")
    assert limpid("report", "--json").out == changed.out
    assert (tmp_path / "report.html").read_bytes() != page
    assert "bread" not in "".join(path.name for path in (tmp_path / ".limpid" / FOLDER).iterdir())
