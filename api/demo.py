"""`limpid demo`: the whole job on a real corpus, the language reference that every CPython carries."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from statistics import fmean

from api.console import Console
from api.jobs.report import about
from api.jobs.report_parts import keep_made
from api.loading import ingest_shown
from api.opening import retriever as open_retriever
from api.reporting import diagnose_index, write_report
from core.index import Index, open_index
from core.settings import Settings
from eval.judged import Evaluation, evaluate
from eval.trec import load_qrels, load_queries
from ingest.sources import discover
from search.results import results_json
from search.retriever import Retriever

QUESTIONS = (
    "How do I run cleanup code even when an error happens?",
    "What does __set_name__ do?",
    "how do I leave a loop early?",
    "which operators bind tighter than others?",
    "where does Python look for a variable's name?",
)


def run_demo(settings: Settings, console: Console, out: Path) -> None:
    """Ingest, ask, score and report; the index stays in the folder that the settings name."""
    started = time.perf_counter()
    folder = Path(settings.index)
    corpus = write_corpus(folder / "corpus.jsonl")
    settings = settings.model_copy(update={"index": str(folder / "index")})
    with open_index(settings, create=True, notify=console.note) as index:
        console.say(f"1. Ingesting the Python language reference into {settings.index}", bold=True)
        summary = ingest_shown(index, settings, console, discover([str(corpus)]), prune=True)
        console.say(f"   {summary} ({index.store.count_chunks()} chunks)")
        retriever = open_retriever(index, settings, console.note)
        console.say("2. Five questions", bold=True)
        answers = [_ask(retriever, question, console) for question in QUESTIONS]
        scored = _score(retriever, index, console)
        console.say("4. The quality report", bold=True)
        reading, diagnosis = about(index), diagnose_index(index, settings, console)
        report = write_report(index, settings, console, out, diagnosis, scored)
        keep_made(settings, reading, report, out, diagnosis)
    console.say(f"   {report['verdict']}")
    console.say(f"   Written to {out}: open it in a browser.")
    console.say(f"Done in {time.perf_counter() - started:.0f} s. Next:", bold=True)
    console.say(f"   limpid search 'your question' --index {settings.index}")
    console.say(f"   limpid serve --index {settings.index}")
    console.say("   limpid ingest YOUR/FOLDER && limpid report")
    if console.json:
        console.result(
            {"ingest": summary.to_json(), "answers": answers, "evaluation": scored.to_json(), "report": str(out)}
        )


def write_corpus(path: Path) -> Path:
    """The language reference as a BEIR corpus, one topic a document, its first heading as the title."""
    from pydoc_data.topics import topics

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lines:
        for name, text in sorted(topics.items()):
            title, _, body = text.lstrip("\n").partition("\n")
            underline, _, rest = body.partition("\n")
            body = rest if set(underline) <= set("*=-~^") else body
            lines.write(json.dumps({"_id": name, "title": title, "text": body.strip("\n")}) + "\n")
    return path


def _ask(retriever: Retriever, question: str, console: Console) -> dict:
    answer = results_json(retriever.search(question, k=3, explain=True), explain=True)
    console.say(f"   {question}", fg="cyan")
    for hit in answer["hits"][:1]:
        best = " ".join(hit["best_sentence"]["text"].split()) if hit["best_sentence"] else hit["text"][:200]
        legs = ", ".join(f"{name} #{leg['rank']}" for name, leg in hit["legs"].items() if leg["rank"])
        place = " › ".join(dict.fromkeys([hit["title"], *hit["headings"]]))
        console.say(f"      {best}")
        console.say(f"      — {place}  [{hit['document_id']}; {legs}]", dim=True)
    return answer


def _score(retriever: Retriever, index: Index, console: Console) -> Evaluation:
    """Judged queries over the topics; those whose topic this Python doesn't have are left out, and said to be."""
    known = {record.id for record in index.store.records()}
    folder = resources.files("api") / "demo_data"
    with resources.as_file(folder / "queries.jsonl") as queries, resources.as_file(folder / "qrels.tsv") as qrels:
        texts, judged = load_queries(queries), load_qrels(qrels)
    fitting = {query_id: grades for query_id, grades in judged.items() if grades.keys() <= known}
    console.say(f"3. {len(fitting)} judged queries", bold=True)
    if len(fitting) < len(judged):
        console.note(f"   {len(judged) - len(fitting)} queries are left out: this Python lacks their topics.")
    runs: dict[str, dict[str, list[tuple[str, float]]]] = {}
    with console.progress("searching", 3 * len(fitting)) as advance:
        for mode in ("hybrid", "dense", "sparse"):
            runs[mode] = {}
            for query_id in fitting:
                runs[mode][query_id] = retriever.rank_documents(texts[query_id], mode=mode)
                advance(sum(map(len, runs.values())))
    asked = {query_id: texts[query_id] for query_id in fitting}
    scored = evaluate(runs, fitting, queries=asked, document_ids=known)
    _print_scores(scored, queries_of_kind(fitting), console)
    return scored


def queries_of_kind(judged: Collection[str]) -> dict[str, list[str]]:
    """Ids of the demo's queries by what makes them hard, as their file says."""
    kinds: dict[str, list[str]] = {}
    with (resources.files("api") / "demo_data" / "queries.jsonl").open(encoding="utf-8") as lines:
        for query in map(json.loads, lines):
            if query["_id"] in judged:
                kinds.setdefault(query["metadata"]["kind"], []).append(query["_id"])
    return kinds


def _print_scores(scored: Evaluation, kinds: dict[str, list[str]], console: Console) -> None:
    for mode, metrics in scored.modes.items():
        ndcg, recall = metrics["nDCG@10"], metrics["R@100"]
        values = scored.values[mode]["nDCG@10"]
        means = ", ".join(f"{kind} {fmean(values[key] for key in keys):.2f}" for kind, keys in kinds.items())
        interval = f"{ndcg.mean:.3f} [{ndcg.low:.3f}, {ndcg.high:.3f}]"
        console.say(f"   {mode:<7} nDCG@10 {interval}  ({means})   R@100 {recall.mean:.3f}")
