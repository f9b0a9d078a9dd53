"""The documentation is held to the code: commands, options, settings, statuses, examples and links."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from api.app import create_app
from api.chat.schemas import ChatRequest
from api.cli import app
from api.failures import exit_code, http_status
from api.jobs.uploads import TextRequest
from api.routes.context import ContextRequest
from api.routes.copying import PackageRequest
from api.routes.space import SimilarRequest, WalkRequest
from api.schemas import SearchRequest
from core import errors
from core.index import open_index
from core.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.md")]
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
HTTP = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
GROUP = typer.main.get_command(app)
COMMANDS_BY_NAME = {  # those of a group by both names
    f"{name} {inner}".strip(): command
    for name, group in GROUP.commands.items()
    for inner, command in {"": group, **getattr(group, "commands", {})}.items()
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]+)?\)")
REQUESTS = {
    "/v1/search": SearchRequest,
    "/v1/context": ContextRequest,
    "/v1/chat/completions": ChatRequest,
    "/v1/copy": PackageRequest,
    "/v1/documents": TextRequest,
    "/v1/similar": SimilarRequest,
    "/v1/walk": WalkRequest,
}
ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.LimpidError]


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block of a language, with the name of its page and its number there."""
    found = []
    for page in PAGES:
        blocks = [body for kind, body in FENCE.findall(_text(page)) if kind == language]
        found += [(f"{page.name}-{number}", body) for number, body in enumerate(blocks, start=1)]
    return found


def _section(text: str, heading: str) -> str:
    """What stands under a second-level heading."""
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def _rows(text: str) -> list[list[str]]:
    """The cells of all table rows, without headers and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [place for place, row in enumerate(cells) if set("".join(row)) <= set("-: ")]
    return [row for place, row in enumerate(cells) if place not in rules and place + 1 not in rules]


def _names(cell: str) -> set[str]:
    """The options that a cell names: `--out PATH` and `-q` give --out and -q."""
    return {code.split()[0] for code in re.findall(r"`([^`]+)`", cell)}


def _documented_options(command: str) -> set[str]:
    shared = {
        option
        for cell, _, lacking in _rows(_section(COMMANDS, "Options of every command"))
        if command not in re.findall(r"`([^`]+)`", lacking)
        for option in _names(cell)
    }
    return shared | {option for row in _rows(_section(COMMANDS, f"limpid {command}")) for option in _names(row[0])}


def test_every_command_is_documented_and_no_other() -> None:
    assert set(re.findall(r"^## limpid (.+)$", COMMANDS, re.MULTILINE)) == set(COMMANDS_BY_NAME)


@pytest.mark.parametrize("name", COMMANDS_BY_NAME)
def test_every_option_is_documented_and_no_other(name: str) -> None:
    parameters = COMMANDS_BY_NAME[name].params
    real = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    real = {option for option in real if option.startswith("-")} | {"--help"}
    assert _documented_options(name) == real


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {row[0].strip("`"): row for row in _rows(_section(COMMANDS, "Settings"))}
    assert set(documented) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        _, variable, default, meaning = documented[name]
        assert variable == f"`LIMPID_{name.upper()}`"
        assert default == _shown_default(name, field.default), name
        assert meaning


def _shown_default(name: str, default: object) -> str:
    if name == "cache_dir":
        return "`~/.cache/limpid`"
    if default is None:
        return "unset"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_exit_codes_are_those_of_the_code() -> None:
    documented = {
        kind: int(code) for code, _, kinds in _rows(_section(COMMANDS, "Exit codes")) for kind in _names(kinds)
    }
    assert documented == {kind.__name__: exit_code(kind("")) for kind in ERRORS}


def test_statuses_are_those_of_the_code() -> None:
    rows = _rows(_section(HTTP, "Problem documents"))
    documented = {kind: int(code) for code, _, kinds in rows for kind in _names(kinds)}
    assert documented == {kind.__name__: http_status(kind(""))[0] for kind in ERRORS}


@pytest.mark.parametrize("path", REQUESTS)
def test_every_field_of_a_request_is_documented(path: str) -> None:
    fields = {row[0].strip("`") for row in _rows(_section(HTTP, f"`POST {path}`"))}
    assert fields == {field.alias or name for name, field in REQUESTS[path].model_fields.items()}


def test_every_address_is_documented_and_no_other(settings: Settings) -> None:
    with open_index(settings, create=True, notify=lambda line: None) as index:
        paths = create_app(index, settings).openapi()["paths"]
    real = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(re.findall(r"^## `((?:GET|POST|PUT|DELETE) [^`]+)`$", HTTP, re.MULTILINE)) == real


@pytest.mark.parametrize(("path", "body"), re.findall(r"^\$ curl.*?(/v1/[\w/]+).*? -d '([^']*)'", HTTP, re.MULTILINE))
def test_bodies_of_requests_are_accepted(path: str, body: str) -> None:
    REQUESTS[path].model_validate_json(body)


def _calls() -> Iterator[tuple[str, list[str]]]:
    """Every call of `limpid` in a console block, also through Docker; variables in front of it are left out."""
    for name, block in _blocks("console"):
        for line in re.findall(r"^\$ ((?:.*\\\n)*.*)", block, re.MULTILINE):
            lexer = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars=";|&")
            lexer.whitespace_split = True
            call: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set(";|&"):
                    if "limpid" in call:
                        yield name, _arguments(call)
                    call = []
                else:
                    call.append(word)


def _arguments(call: list[str]) -> list[str]:
    """What follows `limpid` in a call; nothing where the word is another program's argument."""
    while call and re.match(r"^[A-Z_]+=", call[0]):
        call = call[1:]
    is_run = call[0] == "limpid" or call[:3] == ["docker", "compose", "run"]
    return call[call.index("limpid") + 1 :] if is_run else []


@pytest.mark.parametrize(
    ("page", "arguments"),
    [pytest.param(*call, id=f"{call[0]}: {' '.join(call[1])[:60]}") for call in _calls() if call[1]],
)
def test_console_examples_fit_the_command_line(page: str, arguments: list[str]) -> None:
    """Options exist, what is required is given; nothing is run."""
    name, *rest = arguments
    if rest and f"{name} {rest[0]}" in COMMANDS_BY_NAME:
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name != "--help":
        command = COMMANDS_BY_NAME[name]
        command.make_context(name, [argument for argument in rest if argument != "--help"])


def test_examples_were_found() -> None:
    assert {arguments[0] for _, arguments in _calls() if arguments} >= set(GROUP.commands)


@pytest.mark.parametrize("block", [pytest.param(body, id=name) for name, body in _blocks("json")])
def test_json_blocks_are_json(block: str) -> None:
    json.loads(block)


@pytest.mark.parametrize("block", [pytest.param(body, id=name) for name, body in _blocks("python")])
def test_python_blocks_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "documentation", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(FENCE.sub("", _text(page))):
        aim = (page.parent / target).resolve() if target else page
        assert aim.exists(), f"{page.name} links to {target}"
        assert aim.is_relative_to(ROOT)
        if anchor:
            assert anchor[1:] in {_slug(heading) for heading in re.findall(r"^#+ (.*)$", _text(aim), re.MULTILINE)}


def _slug(heading: str) -> str:
    """The anchor that a heading gets where repositories are shown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_pages_have_one_title(page: Path) -> None:
    assert len(re.findall(r"^# ", FENCE.sub("", _text(page)), re.MULTILINE)) == 1
