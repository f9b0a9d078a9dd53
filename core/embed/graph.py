"""The OpenVINO graph of a model: made once in a process of its own, then read from disk."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from core.embed.weights import Weights

ENCODER, PAIRS = "core.embed.export", "core.embed.cross_export"  # the modules that export, run as processes


@dataclass(frozen=True, slots=True)
class Graph:
    """An exported encoder on disk: `graph.xml`, `graph.bin`, `tokenizer.json` and what `encoder.json` says."""

    folder: Path
    dimension: int
    max_tokens: int
    prompts: dict[str, str]
    lowercase: bool
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairGraph:
    """An exported cross-encoder on disk, with the same files; its one output is the score of each pair."""

    folder: Path
    max_tokens: int
    inputs: tuple[str, ...]


def open_graph(weights: Weights, cache_dir: Path, notify: Callable[[str], None]) -> Graph | None:
    """The cached graph, exported first where needed; None for a model that can't be exported (`notify` says why).

    Torch is imported only in the exporting process, so this one stays light.
    """
    described = _described(weights, cache_dir, ENCODER, notify)
    return Graph(**described) if described else None


def open_pair_graph(weights: Weights, cache_dir: Path, notify: Callable[[str], None]) -> PairGraph | None:
    """The cached graph of a cross-encoder, as `open_graph` gives an encoder's."""
    described = _described(weights, cache_dir, PAIRS, notify)
    return PairGraph(**described) if described else None


def graph_folder(weights: Weights, cache_dir: Path, exporter: str = ENCODER) -> Path:
    """Where the graph of a model is once it is made; a graph belongs to the libraries that made and read it, too."""
    made_by = f"ov{version('openvino')}-torch{version('torch').split('+')[0]}"
    kind = "" if exporter == ENCODER else "-pairs"
    return cache_dir / "graphs" / f"{weights.slug}{kind}-{made_by}"


def _described(weights: Weights, cache_dir: Path, exporter: str, notify: Callable[[str], None]) -> dict | None:
    """The folder of a graph and what the exporter wrote down of it."""
    folder = graph_folder(weights, cache_dir, exporter)
    refusal = folder.with_suffix(".refused")
    if not folder.is_dir():
        known = refusal.read_text(encoding="utf-8") if refusal.is_file() else None
        reason = known or _export(weights, folder, refusal, exporter, notify)
        if reason:
            notify(f"{weights.name} runs on sentence-transformers, not OpenVINO: {reason}")
            return None
    described = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    return described | {"folder": folder, "inputs": tuple(described["inputs"])}


def _export(weights: Weights, folder: Path, refusal: Path, exporter: str, notify: Callable[[str], None]) -> str | None:
    """Export into `folder`, all or nothing; returns the reason where that isn't possible."""
    notify(f"Preparing {weights.name} for this machine (once) …")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
    try:
        command = [sys.executable, "-m", exporter, str(weights.folder), str(partial)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode == 0:
            partial.chmod(0o755)  # a cache may be shared; temporary folders are private
            with contextlib.suppress(OSError):  # another process was faster: its graph is the same
                partial.replace(folder)
            return None
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"the export ended with status {done.returncode}"
        if done.returncode == 1:  # a refusal, not a kill: it would be refused again
            refusal.write_text(reason, encoding="utf-8")
        return reason
    finally:
        shutil.rmtree(partial, ignore_errors=True)
