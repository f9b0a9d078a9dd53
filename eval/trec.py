"""Files of judged retrieval: BEIR queries and qrels, TREC qrels and runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.errors import InputError, NotFound

Run = dict[str, list[tuple[str, float]]]  # query id -> (document id, score), best first
Qrels = dict[str, dict[str, int]]  # query id -> document id -> grade


def load_queries(path: str | Path) -> dict[str, str]:
    """Query texts by id, in file order, from JSON lines with `_id` and `text`.

    Raises NotFound for a missing file, InputError for a line that is no such object or repeats an id.
    """
    queries: dict[str, str] = {}
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not JSON ({error.msg}). Each line must be an object "
                'such as {"_id": "q1", "text": "a question"}.'
            ) from None
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str) or "_id" not in record or not text.strip():
            raise InputError(
                f"""{path}, line {number}: a query needs "_id" and a "text" that isn't empty. Add what is missing."""
            )
        query_id = str(record["_id"])
        if query_id in queries:
            raise InputError(f'{path}, line {number}: query id "{query_id}" occurs twice. Make the ids unique.')
        queries[query_id] = text
    if not queries:
        raise InputError(f"{path}: holds no queries. Write one JSON object per line.")
    return queries


def load_qrels(path: str | Path) -> Qrels:
    """Relevance grades by query and document, from BEIR (3 columns, header or not) or TREC (4 columns) judgements.

    Columns are separated by tabs, or by any white space where a line has no tab. Raises NotFound for a missing file,
    InputError for a line with other columns, a grade that is no integer, or two grades for one pair.
    """
    qrels: Qrels = {}
    for position, (number, line) in enumerate(read_lines(path)):
        columns = line.split("\t") if "\t" in line else line.split()
        columns = [column.strip() for column in columns]
        if len(columns) not in (3, 4):
            raise InputError(
                f"{path}, line {number}: {len(columns)} columns. Expected query, document, grade (BEIR) "
                "or query, 0, document, grade (TREC)."
            )
        query_id, document_id, grade_text = columns[0], columns[-2], columns[-1]
        try:
            grade = int(grade_text)
        except ValueError:
            if position == 0:
                continue  # the header of a BEIR file
            raise InputError(
                f'{path}, line {number}: the grade "{grade_text}" is no whole number. Use 0 for not relevant, '
                "1 and above for relevant."
            ) from None
        grades = qrels.setdefault(query_id, {})
        if grades.get(document_id, grade) != grade:
            raise InputError(
                f'{path}, line {number}: document "{document_id}" has the grades {grades[document_id]} and {grade} '
                f'for query "{query_id}". Keep one.'
            )
        grades[document_id] = grade
    if not qrels:
        raise InputError(f"{path}: holds no judgements. Write query, document and grade on each line.")
    return qrels


def ranked(results: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The results by falling score, ties by rising document id: the one order that everything is measured in."""
    return sorted(results, key=lambda result: (-result[1], result[0]))


def write_run(path: str | Path, run: Mapping[str, Sequence[tuple[str, float]]], tag: str = "limpid") -> None:
    """Writes a run as TREC lines `query Q0 document rank score tag`; ranks count from 1.

    Raises InputError for an id with white space in it, which the format can't hold, and for a score that is no number.
    """
    lines = []
    for query_id, results in run.items():
        for rank, (document_id, score) in enumerate(ranked(results), start=1):
            for name in (query_id, document_id):
                if not name or any(character.isspace() for character in name):
                    raise InputError(f"{path}: a TREC run can't hold the id {name!r}. Use ids without white space.")
            if not math.isfinite(score):
                raise InputError(f"{path}: document {document_id!r} of query {query_id!r} has the score {score}.")
            lines.append(f"{query_id} Q0 {document_id} {rank} {float(score)!r} {tag}\n")
    Path(path).write_text("".join(lines), encoding="utf-8")


def read_run(path: str | Path) -> Run:
    """A run from a TREC file; its score column decides the order, ties by document id, and ranks are not read.

    Raises NotFound for a missing file, InputError for a malformed line or a document listed twice for a query.
    """
    scores: dict[str, dict[str, float]] = {}
    for number, line in read_lines(path):
        columns = line.split()
        if len(columns) != 6:
            raise InputError(
                f"{path}, line {number}: {len(columns)} columns. A run line is: query Q0 document rank score tag."
            )
        query_id, _, document_id, _, score_text, _ = columns
        try:
            score = float(score_text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise InputError(f'{path}, line {number}: the score "{score_text}" is no finite number.')
        documents = scores.setdefault(query_id, {})
        if document_id in documents:
            raise InputError(
                f'{path}, line {number}: document "{document_id}" is listed twice for query "{query_id}". '
                "Keep its best line."
            )
        documents[document_id] = score
    return {query_id: ranked(list(documents.items())) for query_id, documents in scores.items()}


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The non-empty lines of a UTF-8 file with their numbers, counted from 1.

    Raises NotFound for a missing file, InputError for one that can't be read as text.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                stripped = line.rstrip("\r\n")
                if stripped.strip():
                    yield number, stripped
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file. Check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder. Name the file inside it.") from None
    except PermissionError:
        raise InputError(f"{path}: can't be read. Check its permissions.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
