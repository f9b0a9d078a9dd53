"""Contexts for language models, and whether an answer's citations hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands.search import FilterOption, FusionOption, ModeOption
from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.failures import DONE_WITH_FAILURES
from api.opening import open_for, retriever
from api.served import find_server
from core.errors import IndexLocked, InputError, NotFound

if TYPE_CHECKING:
    from core.settings import Settings

MAX_CONTEXT_MB = 100
REASONS = {
    "over_budget": "Left out, no room: {}",
    "near_duplicate": "Left out, said by better ones: {}",
    "trimmed": "Trimmed: {}",
}


def context(
    query: Annotated[str, typer.Argument(help="What the context shall answer.")],
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Most tokens, labels and wrappers included.")] = 2000,
    encoding: Annotated[str, typer.Option("--encoding", help="Counts them: o200k_base or cl100k_base.")] = "o200k_base",
    form: Annotated[str, typer.Option("--format", help="plain, markdown, xml or messages (JSON).")] = "plain",
    passage: Annotated[
        str, typer.Option("--passage", help="sentences (those worth most), best (of every chunk), chunk or section.")
    ] = "sentences",
    order: Annotated[
        str, typer.Option("--order", help="document (its passages as written) or relevance.")
    ] = "document",
    k: Annotated[int, typer.Option("-k", help="How many of the best chunks are read.")] = 30,
    mode: ModeOption = "hybrid",
    fusion: FusionOption = None,
    where: FilterOption = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a context for a language model's prompt, within a budget of tokens."""
    from api.contexts import find_context

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    wanted = {
        "max_tokens": max_tokens, "encoding": encoding, "passage": passage, "order": order, "k": k, "mode": mode,
        "fusion": fusion,
    }  # fmt: skip
    try:
        with open_for(settings, console) as opened:
            search = retriever(opened, settings, console.note)
            answer = find_context(opened, search, settings, query, form=form, where=where, **wanted).to_json()
    except IndexLocked:
        with find_server(settings) as server:
            answer = server.context({"query": query, "format": form, "filter": where, **wanted})
    if as_json:
        console.result(answer)
        return
    typer.echo(answer["text"], nl=False)
    _note_sources(console, answer)


def cite_check(
    answer: Annotated[str, typer.Argument(metavar="FILE", help="The answer; - reads it from stdin.")],
    source: Annotated[Path, typer.Option("--context", metavar="FILE", help="What it was made from, as JSON.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Also check that the index still holds every cited passage.")
    ] = False,
    min_share: Annotated[float, typer.Option("--min-share", help="Of a claim's words, where it quotes nothing.")] = 0.5,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check that what an answer quotes stands in the passages that it cites."""
    from search.citations import check_citations, summarise

    if not 0 <= min_share <= 1:
        raise InputError(f"--min-share is {min_share}; it must lie between 0 and 1.")
    console = Console(as_json, quiet)
    cited = _cited(source)
    texts = {label: "\n".join(part for part in (of.get("lead"), of["text"]) if part) for label, of in cited.items()}
    text = sys.stdin.read() if answer == "-" else _read(Path(answer))
    settings = settings_from(index=index, collection=collection, model=model)
    is_current = _verifier(settings, console, cited) if verify else None
    found = summarise(check_citations(text, texts, is_current, min_share))
    if as_json:
        console.result(found)
    else:
        _print_checks(console, found)
    if not found["ok"]:
        raise typer.Exit(DONE_WITH_FAILURES)


def _note_sources(console: Console, answer: dict) -> None:
    """Where each passage is from and what was left out, beside the text."""
    for cited in answer["passages"]:
        place = f", {cited['place']}" if cited["place"] else ""
        source = cited["uri"] or cited["document_id"]
        console.note(f"[{cited['label']}] {source}{place}, characters {cited['start']}–{cited['end']}")
    console.note(f"{answer['n_tokens']:,} of {answer['max_tokens']:,} tokens ({answer['encoding']})")
    for reason, told in REASONS.items():
        if count := answer["n_left_out"][reason]:
            labels = dict.fromkeys(left["label"] for left in answer["left_out"] if left["reason"] == reason)
            named = " ".join(f"[{label}]" for label in sorted(label for label in labels if label))
            chunks = f"{count:,} chunk{'' if count == 1 else 's'}"
            console.note(f"{told.format(chunks)}{f' {named}' if named else ''}")
    for note in answer.get("notes", ()):
        console.note(note)


def _print_checks(console: Console, found: dict) -> None:
    for check in found["checks"]:
        label = f"[{check['label']}]" if check["label"] is not None else "–"
        is_bad = check["verdict"] in ("not_found", "unknown_label", "changed")
        console.say(
            f"{'FAILED' if is_bad else 'ok':<6}  {label:>4}  {check['verdict']:<13}  {check['claim']}", bold=is_bad
        )
        for quote in check["missing"]:
            console.say(f'        not in the passage: "{quote}"', dim=True)
        if check["verdict"] in ("not_found", "paraphrase"):
            longest = f', longest run "{check["longest"]}"' if check["longest"] else ""
            console.say(f"        {check['share']:.0%} of its words stand there{longest}", dim=True)
    counts = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in found["counts"].items() if count)
    console.say(f"{found['n_citations']} citations: {counts or 'none'}. Words were compared, not facts.")


def _cited(path: Path) -> dict[int, dict[str, Any]]:
    """The passages of a context's JSON, by label. Raises `InputError`, `NotFound`."""
    try:
        passages = json.loads(_read(path))["passages"]
        cited = {passage["label"]: passage for passage in passages}
        if not all(
            isinstance(label, int) and isinstance(of["text"], str) and isinstance(of["document_id"], str)
            and isinstance(of["start"], int) and isinstance(of["end"], int)
            for label, of in cited.items()
        ):  # fmt: skip
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} isn't what `limpid context --json` writes. Make it again, or name its file."
        ) from error
    return cited


def _read(path: Path) -> str:
    if not path.is_file():
        raise NotFound(f"There is no file {path}. Name the file, or - for stdin.")
    if path.stat().st_size > MAX_CONTEXT_MB << 20:
        raise InputError(f"{path} has more than {MAX_CONTEXT_MB} MB.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} isn't text in UTF-8. Convert it first.") from None


def _verifier(settings: Settings, console: Console, cited: Mapping[int, dict[str, Any]]) -> Callable[[int], bool]:
    """Whether the index holds a label's passage where the context says, word for word."""
    texts: dict[str, str] = {}
    wanted = sorted({passage["document_id"] for passage in cited.values()})
    try:
        with open_for(settings, console) as opened:
            texts = {record.id: record.text for record in opened.store.load_records(wanted)}
    except IndexLocked:
        with find_server(settings) as server:
            for document_id in wanted:
                try:
                    texts[document_id] = server.document(document_id)["text"]
                except NotFound:
                    continue
    return lambda label: (
        texts.get(cited[label]["document_id"], "")[cited[label]["start"] : cited[label]["end"]] == cited[label]["text"]
    )
