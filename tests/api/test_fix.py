"""`limpid fix`: what it plans, what it changes, what it shows, and that it can be taken back."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest

import api.trials
import ingest.fixing
import ingest.pipeline
from core.index import open_index
from core.settings import Settings
from ingest.chunkers.sentences import split_sentences
from ingest.sources import discover
from tests.api.command import Command, start
from tests.ingest.snapshot import chunks, documents

Write = Callable[[str, str | bytes], Path]

NOTICE = "This page belongs to the handbook of the harbour office; ask at the counter before you copy it."
TWIN = "The lighthouse keeper writes down every ship that passes, and signs the page at midnight with red ink."
FOREIGN = (
    "Sourdough rises slowly because wild yeast works at its own pace. A wet dough bakes into an open crumb with holes. "
    "Steam in the first ten minutes lets the crust stretch. The loaf sounds hollow once it is baked.",
    "A sloop has one mast and two sails and goes well against the wind. The keel keeps the hull from drifting. "
    "Reefing the mainsail early saves the rigging. The anchor holds best in clay and worst on rock.",
    "A red giant is a dying star that has swollen and cooled. White dwarfs shine for billions of years on old heat. "
    "A supernova outshines its galaxy for weeks. Comets grow a tail when they come near the sun.",
    "Bees dance to tell one another where the flowers are. The queen lays two thousand eggs a day in early summer. "
    "Drones are driven out of the hive in autumn. Honey keeps for centuries if no water gets to it.",
    "A glacier is a river of ice that flows under its own weight. Meltwater at the bed lets the ice slide faster. "
    "Crevasses open where the ice is stretched. Moraines show how far the tongue once reached.",
    "Green tea turns bitter in boiling water. Black tea wants water that is still bubbling when it is poured. "
    "Four minutes of steeping are enough for most leaves. A warm pot keeps the second cup hot.",
)


def paragraphs() -> list[str]:
    """Prose about Python, all of one subject: the four or more sentences of a paragraph each."""
    texts = (
        " ".join(part.split()) for name in sorted(topics) for part in topics[name].split("\n\n") if part[:1] != " "
    )
    return [text for text in texts if "::" not in text and len(split_sentences(text, 0, len(text))) >= 4]


@pytest.fixture(scope="module")
def ingested_pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pages on one subject, the `MUDDY` ones of which go on with another one, and an index of them."""
    folder = tmp_path_factory.mktemp("muddied")
    pages, index = folder / "docs", folder / "index"
    pages.mkdir()
    clean = [text for text in paragraphs() if len(text) < 900]
    for number, text in enumerate(clean[6:]):
        (pages / f"clean{number:03}.txt").write_text(text)
    for number, (text, foreign) in enumerate(zip(clean, FOREIGN, strict=False)):
        halved = text[: split_sentences(text, 0, len(text))[3].end]
        (pages / f"muddy{number}.txt").write_text(f"{halved} {foreign}")
    for number in range(6):
        (pages / f"page{number}.txt").write_text(f"The ferry number {number} leaves at {number} o'clock. {NOTICE}")
    for name in ("one", "two"):
        (pages / f"{name}.md").write_text(f"# Notes {name}\n\n{TWIN}\n")
    settings = Settings(index=str(index), offline=True)
    with open_index(settings, create=True) as opened:
        assert not ingest.pipeline.ingest(opened, discover([str(pages)]), settings).failures
    return pages, index


@pytest.fixture
def muddied(limpid: Command, ingested_pages: tuple[Path, Path], tmp_path: Path) -> Path:
    """The folder of these pages; the index that the command works on is one of them."""
    pages, index = ingested_pages
    shutil.copytree(index, tmp_path / ".limpid")
    return pages


MUDDY = {f"muddy{number}.txt" for number in range(len(FOREIGN))}


def contents() -> tuple[dict, dict]:
    with open_index(Settings(index=".limpid", offline=True)) as index:
        return documents(index), chunks(index)


def test_it_plans_does_shows_and_takes_back(limpid: Command, muddied: Path, write: Write) -> None:
    before = contents()
    planned = limpid("fix", "--json")
    assert planned.code == 0, planned.err
    steps = {(step["kind"], step["is_doable"]): step for step in planned.json["plan"]}
    assert not planned.json["applied"]
    assert {"muddy_chunk", "boilerplate", "duplicate"} <= {kind for kind, is_doable in steps if is_doable}
    shown = limpid("fix")
    assert "Nothing was changed: --apply does what is marked *" in shown.out
    assert "limpid fix muddy_chunk --apply" in shown.out
    assert contents() == before

    queries = [{"_id": "q1", "text": "why does sourdough rise"}, {"_id": "q2", "text": "what does the queen bee lay"}]
    asked = write("queries.jsonl", "\n".join(map(json.dumps, queries)))
    holders = {key: name for key in before[0] for name in MUDDY if key.endswith(name)}
    answers = ("q1", "muddy0.txt"), ("q2", "muddy3.txt")
    rows = [f"{query}\t{key}\t1" for query, wanted in answers for key, name in holders.items() if name == wanted]
    judged = write("qrels.tsv", "query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    ran = limpid("fix", "muddy_chunk", "--apply", "--json", "--queries", asked, "--qrels", judged)
    assert ran.code == 0, ran.err
    (change,) = ran.json["changes"]
    after = contents()
    fixed = {name for key, record in after[0].items() if record.splits for name in MUDDY if key.endswith(name)}
    assert fixed == MUDDY
    assert change["n_flags_after"] < change["n_flags_before"]
    assert (
        change["n_chunks_after"] == len(after[1]) == change["n_chunks_before"] + steps["muddy_chunk", True]["n_chunks"]
    )
    assert change["better"]
    assert change["found"]["after"] >= change["found"]["before"]
    for key, name in holders.items():
        foreign = FOREIGN[int(name[5])]
        assert any(chunk.document_id == key and foreign.startswith(chunk.text[:40]) for chunk in after[1].values())
        for chunk in after[1].values():
            if chunk.document_id == key:
                assert after[0][key].text[chunk.start : chunk.end] == chunk.text
    row = next(row for row in ran.json["judged"] if (row["mode"], row["metric"]) == ("hybrid", "nDCG@10"))
    assert (row["n"], row["after"]) == (2, 1.0)
    assert limpid("ingest", muddied).out.startswith("Indexed: 0 new, 0 updated")
    assert contents() == after
    assert limpid("reindex", "--bm25-b", "0.7").code == 0
    assert contents() == after

    ran = limpid("fix", "boilerplate", "duplicate", "--apply")
    assert ran.code == 0, ran.err
    held = [chunk for chunk in contents()[1].values() if NOTICE in chunk.text or TWIN in chunk.text]
    assert sorted((chunk.text, len(chunk.also_in)) for chunk in held) == sorted([(NOTICE, 5), (TWIN, 1)])

    undone = limpid("fix", "--undo", "--json")
    assert undone.json["undone"] == {
        "muddy_chunk": len([1 for r in after[0].values() if r.splits]),
        "boilerplate": 1,
        "duplicate": 1,
    }
    assert contents() == before
    assert "Nothing to take back" in limpid("fix", "--undo").out


def test_an_interruption_leaves_the_index_answering(
    limpid: Command, muddied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ingest.fixing._Splitter, "rewrite", interrupted)
        ran = limpid("fix", "muddy_chunk", "--apply")
    assert (ran.code, "the same command goes on" in ran.err) == (130, True)
    assert contents() == before
    assert "muddy0.txt" in limpid("search", "why does sourdough rise", "--json").json["hits"][0]["uri"]


def test_a_server_that_holds_the_index_is_named(limpid: Command, corpus: Path, tmp_path: Path) -> None:
    assert limpid("ingest", corpus).code == 0
    process = start(tmp_path, "serve", "--port", "0", "--json")
    try:
        assert process.stdout.readline(), process.stderr.read()
        ran = limpid("fix")
        assert (ran.code, "is served by `limpid serve`" in ran.err, "stop it first" in ran.err) == (4, True, True)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_weight_and_chunk_size_are_measured(
    limpid: Command, corpus: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limpid("ingest", corpus).code == 0
    ids = [found["id"] for found in limpid("documents", "--json").json["documents"]]
    names = ("bread.txt", "stars.txt", "boats.md", "page.html", "boats.md")
    texts = ("why is bread slow", "dying star", "masts of a sloop", "clouds like wool", "what does a keel do")
    asked = write("q.jsonl", "\n".join(json.dumps({"_id": f"q{n}", "text": text}) for n, text in enumerate(texts)))
    rows = [f"q{n}\t{key}\t1" for n, name in enumerate(names) for key in ids if key.endswith(name)]
    judged = write("qrels.tsv", "query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    judgements = ("--queries", asked, "--qrels", judged)
    ran = limpid("fix", "--chunk-tokens", "40", "--apply", "--json", *judgements)
    assert ran.code == 0, ran.err
    assert (ran.json["recommended"], ran.json["applied"]) == (False, False)  # five queries can't be sure
    assert {row["n"] for row in ran.json["judged"]} == {5}
    assert limpid("status", "--json").json["fingerprint"]["chunk_tokens"] == 200
    assert "the size stays as it is" in limpid("fix", "--chunk-tokens", "40", *judgements).out
    assert "has chunks of 200 tokens already" in limpid("fix", "--chunk-tokens", "200", *judgements).err
    few = write("few.tsv", "query-id\tcorpus-id\tscore\n" + "\n".join(rows[:4]) + "\n")
    ran = limpid("fix", "--tune", "--apply", "--queries", asked, "--qrels", few)
    assert (ran.code, "judges 4 of the queries" in ran.err, "at least 5" in ran.err) == (2, True, True)
    assert "diagnosing" not in ran.err  # told before anything is looked at
    ran = limpid("fix", "hub", "--tune", "--apply", "--json", *judgements)
    assert ran.code == 0, ran.err
    tuned = limpid("tune", "--queries", asked, "--qrels", judged, "--dry-run", "--json").json["alpha"]
    assert (ran.json["weight"]["before"], round(ran.json["weight"]["after"], 3)) == (0.6, tuned)
    monkeypatch.setattr(api.trials, "is_gain", lambda rows: True)
    ran = limpid("fix", "--chunk-tokens", "40", "--apply", "--json", *judgements)
    assert (ran.code, ran.json["applied"]) == (0, True), ran.err
    assert limpid("status", "--json").json["fingerprint"]["chunk_tokens"] == 40


def test_wrong_calls(limpid: Command, corpus: Path) -> None:
    for arguments, code, message in [
        (["mud"], 2, "'mud' can't be fixed; use one of"),
        (["hub", "--undo"], 2, "'hub' can't be undone; use one of muddy_chunk, boilerplate, duplicate"),
        (["--apply", "--undo"], 2, "give one of them"),
        (["--min-confidence", "2"], 2, "give a number from 0 to 1"),
        (["muddy_chunk", "--drop"], 2, "--drop is about boilerplate"),
        (["--apply", "--queries", "q.jsonl"], 2, "Give --queries together with --qrels or --excerpts"),
        (["--queries", "q.jsonl", "--qrels", "q.tsv"], 2, "give --apply as well"),
        (["--tune"], 2, "are judged by queries"),
        (["--chunk-tokens", "100"], 2, "are judged by queries"),
        ([], 3, "There is no index"),
    ]:
        ran = limpid("fix", *arguments)
        assert (ran.code, message in ran.err) == (code, True), ran.err
    assert limpid("ingest", corpus).code == 0
    assert "Nothing to fix" in limpid("fix", "muddy_chunk").out
    assert "Nothing was changed" in limpid("fix", "muddy_chunk", "--apply").out
