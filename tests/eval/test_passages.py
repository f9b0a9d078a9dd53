"""Judgements by excerpt: sums over characters written out, and files that don't fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError, NotFound
from eval.passages import Excerpts, load_excerpts, measure_passages, names, score

EXCERPTS = [("d", 100, 150), ("d", 200, 250)]
STRETCHES = st.lists(
    st.tuples(st.sampled_from("de"), st.integers(0, 60), st.integers(1, 30)).map(lambda s: (s[0], s[1], s[1] + s[2])),
    min_size=1,
    max_size=4,
)


def test_recall_precision_and_iou_over_characters() -> None:
    retrieved = [("d", 90, 190), ("d", 225, 300)]
    found, length, missed = 50 + 25, 100 + 75, 25
    assert score(retrieved, EXCERPTS) == pytest.approx((found / 100, found / length, found / (length + missed)))


def test_text_of_other_documents_is_never_found_but_counts_as_retrieved() -> None:
    assert score([("d", 100, 150), ("e", 0, 450)], EXCERPTS) == pytest.approx((50 / 100, 50 / 500, 50 / 550))


def test_what_passages_share_is_found_once_and_retrieved_twice() -> None:
    assert score([("d", 100, 150), ("d", 100, 150)], EXCERPTS) == pytest.approx((50 / 100, 50 / 100, 50 / 150))


def test_exactly_the_excerpts_is_perfect_and_nothing_is_zero() -> None:
    assert score(EXCERPTS, EXCERPTS) == (1.0, 1.0, 1.0)
    assert score([], EXCERPTS) == (0.0, 0.0, 0.0)
    assert score([("d", 150, 200)], EXCERPTS) == (0.0, 0.0, 0.0)


@given(STRETCHES, STRETCHES)
def test_scores_equal_those_of_sets_of_characters(retrieved: list, excerpts: list) -> None:
    held = {(key, i) for key, start, end in retrieved for i in range(start, end)}
    wanted = [(key, i) for key, start, end in excerpts for i in range(start, end)]
    found = sum(one in held for one in wanted)
    length = sum(end - start for _, start, end in retrieved)
    expected = (found / len(wanted), found / length, found / (length + len(wanted) - found))
    assert score(retrieved, excerpts) == pytest.approx(expected)


@given(st.integers(1, 40))
def test_recall_does_not_depend_on_where_the_document_is_cut(size: int) -> None:
    chunks = [("d", start, min(start + size, 300)) for start in range(0, 300, size)]
    touching = [chunk for chunk in chunks if any(chunk[1] < end and chunk[2] > start for _, start, end in EXCERPTS)]
    assert score(touching, EXCERPTS)[0] == 1.0


def test_values_by_query_with_zero_for_those_without_passages() -> None:
    excerpts = Excerpts({"q1": (("d", 0, 10),), "q2": (("d", 0, 10),)}, {})
    values = measure_passages({"q1": [("d", 5, 25)], "unjudged": [("d", 0, 10)]}, excerpts, 5)
    assert list(values) == list(names(5)) == ["char_recall@5", "char_precision@5", "char_IoU@5"]
    assert values["char_recall@5"] == {"q1": 0.5, "q2": 0.0}
    assert values["char_precision@5"] == {"q1": 5 / 20, "q2": 0.0}
    assert values["char_IoU@5"] == {"q1": 5 / 25, "q2": 0.0}


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize("field", ["doc_id", "document_id", "document"])
def test_excerpts_are_read_by_query(tmp_path: Path, field: str) -> None:
    record = {"query_id": 7, field: "d", "start": 2, "end": 5, "text": "xyz"}
    excerpts = load_excerpts(write(tmp_path / "e.jsonl", record, record | {"start": 0}, record))
    assert excerpts.by_query == {"7": (("d", 2, 5), ("d", 0, 5))}
    assert excerpts.qrels == {"7": {"d": 1}}
    assert excerpts.texts[("d", 2, 5)] == "xyz"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"query_id": "q", "doc_id": "d", "start": 5, "end": 5}, "start 5 and end 5"),
        ({"query_id": "q", "doc_id": "d", "start": -1, "end": 5}, "start -1"),
        ({"query_id": "q", "doc_id": "d", "start": "0", "end": 5}, "start '0'"),
        ({"query_id": "q", "doc_id": "d", "start": True, "end": 5}, "start True"),
        ({"query_id": "q", "doc_id": "d", "start": 0}, "end None"),
        ({"query_id": "q", "start": 0, "end": 5}, '"doc_id"'),
        ({"doc_id": "d", "start": 0, "end": 5}, '"query_id"'),
        (["q", "d", 0, 5], '"query_id"'),
    ],
)
def test_bad_excerpts_name_file_and_line(tmp_path: Path, record: object, message: str) -> None:
    good = {"query_id": "q", "doc_id": "d", "start": 0, "end": 5}
    with pytest.raises(InputError, match=r"e\.jsonl, line 2: ") as caught:
        load_excerpts(write(tmp_path / "e.jsonl", good, record))
    assert message in str(caught.value)


def test_empty_missing_and_broken_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no excerpts"):
        load_excerpts(tmp_path / "empty.jsonl")
    with pytest.raises(NotFound, match="nowhere"):
        load_excerpts(tmp_path / "nowhere")
    (tmp_path / "broken.jsonl").write_text('{"query_id"')
    with pytest.raises(InputError, match="line 1: not JSON"):
        load_excerpts(tmp_path / "broken.jsonl")


def test_excerpts_are_held_to_their_documents() -> None:
    excerpts = Excerpts({"q1": (("d", 2, 5),), "q2": (("d", 8, 12), ("unknown", 0, 9))}, {("d", 2, 5): "cde"})
    excerpts.check({"d": "abcdefghijklm"})
    with pytest.raises(
        InputError, match=r'1 of 3 excerpts.*"q2" at 8–12 of document "d" ends beyond its 10 characters'
    ):
        excerpts.check({"d": "abcdefghij"})
    with pytest.raises(InputError, match=r"reads 'cde' in the file and 'CDE' in the index"):
        excerpts.check({"d": "abCDEfghijklm"})
