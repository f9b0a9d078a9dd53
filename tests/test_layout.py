"""The shape of the code, read from its syntax: who imports whom, who touches Qdrant, what is documented."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {  # package: the packages it may import
    "core": {"core"},
    "ingest": {"core", "ingest"},
    "search": {"core", "search"},
    "eval": {"core", "eval"},
    "api": {"core", "ingest", "search", "eval", "api"},
}
# The two stores, and BM25: its encoder (stemming, stop words, term ids) comes with the embedded engine.
QDRANT_IMPORTERS = {"core/store/edge.py", "core/store/server.py", "core/sparse.py"}
HEAVY = {"torch", "transformers", "sentence_transformers"}
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(nodes: Iterator[ast.AST]) -> set[str]:
    """The top-level names that the nodes import."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide which package is meant"
            found.add((node.module or "").partition(".")[0])
    return found


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: everything outside functions and `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _at_import(child)


def test_every_package_has_modules() -> None:
    """An empty list of files would let every other test pass."""
    assert {_name(path).partition("/")[0] for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_run_one_way(path: Path) -> None:
    ours = set(MAY_IMPORT) | {"tests", "benchmarks"}
    allowed = MAY_IMPORT[_name(path).partition("/")[0]]
    assert _imports(ast.walk(_tree(path))) & ours <= allowed


def test_only_the_stores_and_bm25_import_qdrant() -> None:
    importers = {_name(path) for path in FILES if _imports(ast.walk(_tree(path))) & {"qdrant_client", "qdrant_edge"}}
    assert importers == QDRANT_IMPORTERS


def test_only_eval_imports_rank_bm25() -> None:
    """Its cost grows with the whole corpus, so it never stands on the query path."""
    importers = {_name(path).partition("/")[0] for path in FILES if "rank_bm25" in _imports(ast.walk(_tree(path)))}
    assert importers <= {"eval"}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_settings_are_read_at_import(path: Path) -> None:
    calls = [node.func for node in _at_import(_tree(path)) if isinstance(node, ast.Call)]
    names = {func.id if isinstance(func, ast.Name) else getattr(func, "attr", "") for func in calls}
    assert not names & {"Settings", "read_settings", "settings_from"}


@pytest.mark.parametrize(
    "path", [path for path in FILES if _name(path).startswith(("core/", "ingest/", "search/"))], ids=_name
)
def test_heavy_packages_are_imported_late(path: Path) -> None:
    assert not _imports(_at_import(_tree(path))) & HEAVY


def test_serving_imports_neither_torch_nor_the_evaluation() -> None:
    """In a process of its own: what other tests have imported doesn't count."""
    code = "import sys, api.cli, api.server, api.app; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "fastapi" in imported
    unwanted = {"eval", "ingest", "sklearn", "openTSNE", "ir_measures", "rank_bm25", "kreuzberg"}
    assert not imported & (HEAVY | unwanted | {"mcp"})  # the SDK takes a second: its first request imports it


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [_name(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_everything_public_is_documented(path: Path) -> None:
    """Modules with content, public functions and classes, and the public methods of public classes."""
    tree = _tree(path)
    assert not tree.body or ast.get_docstring(tree), "the module has no docstring"
    assert list(_undocumented(tree, "")) == []


def _undocumented(node: ast.AST, prefix: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_"):
            continue
        if not ast.get_docstring(child):
            yield prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from _undocumented(child, f"{prefix}{child.name}.")
