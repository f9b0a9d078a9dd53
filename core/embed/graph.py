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


@dataclass(frozen=True, slots=True)
class Graph:
    """An exported encoder on disk: `graph.xml`, `graph.bin`, `tokenizer.json` and what `encoder.json` says."""

    folder: Path
    dimension: int
    max_tokens: int
    prompts: dict[str, str]
    lowercase: bool
    inputs: tuple[str, ...]


def open_graph(weights: Weights, cache_dir: Path, notify: Callable[[str], None]) -> Graph | None:
    """The cached graph, exported first where needed; None for a model that can't be exported (`notify` says why).

    Torch is imported only in the exporting process, so this one stays light.
    """
    # A graph belongs to the weights and to the libraries that made and read it.
    folder = cache_dir / "graphs" / f"{weights.slug}-ov{version('openvino')}-torch{version('torch').split('+')[0]}"
    refusal = folder.with_suffix(".refused")
    if not folder.is_dir():
        reason = refusal.read_text(encoding="utf-8") if refusal.is_file() else _export(weights, folder, refusal, notify)
        if reason:
            notify(f"{weights.name} runs on sentence-transformers, not OpenVINO: {reason}")
            return None
    described = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    described["inputs"] = tuple(described["inputs"])
    return Graph(folder=folder, **described)


def _export(weights: Weights, folder: Path, refusal: Path, notify: Callable[[str], None]) -> str | None:
    """Export into `folder`, all or nothing; returns the reason where that isn't possible."""
    notify(f"Preparing {weights.name} for this machine (once) …")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
    try:
        command = [sys.executable, "-m", "core.embed.export", str(weights.folder), str(partial)]
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
