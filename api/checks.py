"""What `limpid doctor` looks at. Each check says what it found and, where that isn't well, what to do about it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

from api.failures import DONE_WITH_FAILURES, exit_code
from core.errors import ConfigError, DependencyError, IndexLocked, IndexMismatch, LimpidError, NotFound
from core.settings import TENANTS, Settings

MEGABYTE = 1 << 20
PREFIX = "LIMPID_"
NO_SETTINGS = frozenset({"LIMPID_DEBUG"})  # read elsewhere


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `code` is the exit code of a fault, 0 for anything else."""

    area: str
    state: Literal["ok", "warning", "fault"]
    found: str
    advice: str = ""
    code: int = 0


def ok(area: str, found: str) -> Finding:
    """All is well."""
    return Finding(area, "ok", found)


def warning(area: str, found: str, advice: str) -> Finding:
    """It works, but should be looked at."""
    return Finding(area, "warning", found, advice)


def fault(area: str, error: LimpidError | str, advice: str = "") -> Finding:
    """It doesn't work; an error says what to do itself."""
    code = exit_code(error) if isinstance(error, LimpidError) else DONE_WITH_FAILURES
    return Finding(area, "fault", str(error), advice, code)


def installation() -> Iterator[Finding]:
    """Python, Limpid, and every package that either asks for, with the versions that they ask for."""
    from packaging.requirements import Requirement

    python = ".".join(map(str, sys.version_info[:3]))
    try:
        wanted = [Requirement(line) for line in requires("limpid") or ()]
    except PackageNotFoundError:
        yield warning("installation", f"Python {python}; limpid isn't installed as a package", "Run: pip install .")
        return
    yield ok("installation", f"Limpid {version('limpid')} on Python {python}")
    needed = list(filter(_is_needed, wanted))
    faulty = list(filter(None, map(_lacking, needed)))
    yield from (fault("installation", told, "Run: pip install -c constraints.txt .") for told in faulty)
    if not faulty:
        yield ok("installation", f"{len(needed)} packages in the versions that are needed")
    extras = metadata("limpid").get_all("Provides-Extra") or []
    complete = [extra for extra in extras if not any(_lacking(one) for one in wanted if _is_brought(one, extra))]
    yield ok("installation", f"extras: {', '.join(complete) or 'none'}, of {', '.join(extras) or 'none'}")


def _lacking(wanted) -> str | None:
    """What is wrong with a required package, None where it is there in a version that fits."""
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} isn't installed"
    if not wanted.specifier.contains(found, prereleases=True):
        return f"{wanted.name} is {found}; {wanted.specifier} is needed"
    return None


def _is_brought(wanted, extra: str) -> bool:
    """Whether a package is needed with an extra and not without."""
    return wanted.marker is not None and wanted.marker.evaluate({"extra": extra}) and not _is_needed(wanted)


def _is_needed(wanted) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": ""})


def unknown_variables(environment: dict[str, str]) -> Iterator[Finding]:
    """Variables that are named like settings and aren't."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | NO_SETTINGS
    unknown = sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
    for name in unknown:
        near = get_close_matches(name.upper(), known, n=1)
        advice = f"Did you mean {near[0]}?" if near else "Remove it; docs/commands.md lists the settings."
        yield warning("settings", f"{name} is no setting", advice)


def settings_fit(settings: Settings) -> Iterator[Finding]:
    """Whether `limpid serve` would start with them."""
    from api.server import is_loopback
    from api.serving.keys import KeyRing

    try:
        is_locked = KeyRing(settings).is_locked
    except ConfigError as error:
        yield fault("settings", error)
        return
    told = f"index {settings.index}, serve on {settings.host}:{settings.port}"
    if is_locked or is_loopback(settings.host):
        yield ok("settings", f"{told}, {'with' if is_locked else 'without'} keys")
    else:
        yield fault("settings", f"{told}, without keys: `limpid serve` refuses", "Make a key: limpid keys add NAME")


def keys(settings: Settings) -> Iterator[Finding]:
    """Whether the file of keys can be read, by its owner alone."""
    from api.serving.keys import KeyFile, keys_file

    path = keys_file(settings)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        yield fault("keys", f"{path} can't be read: {error.strerror}", "Give its folder back to its owner.")
        return
    if mode & 0o022:
        yield fault("keys", f"{path} can be changed by others (mode {mode:03o})", f"Run: chmod 600 {path}")
    elif mode & 0o044:
        yield warning("keys", f"{path} can be read by others (mode {mode:03o})", f"Run: chmod 600 {path}")
    try:
        yield ok("keys", f"{len(KeyFile(path).read())} keys in {path}")
    except ConfigError as error:
        yield fault("keys", error)


def model(settings: Settings, stored: str | None) -> Iterator[Finding]:
    """Whether the encoder's weights are whole, its graph is made, and it encodes. `stored` is the index' own model."""
    from core.embed.graph import graph_folder
    from core.embed.weights import find_weights

    name = settings.model if stored is None or "model" in settings.model_fields_set else stored
    try:
        with tempfile.TemporaryDirectory() as empty:  # nothing remembered: the files are hashed now
            weights = find_weights(name, Path(empty), offline=True)
    except DependencyError as error:
        if settings.offline:
            yield fault("model", error)
        else:
            yield warning("model", f"{name} isn't on this machine", "The first ingest or search downloads it.")
        return
    yield ok("model", f"{name}, weights {weights.sha256[:16]}… in {weights.folder}")
    if settings.device != "cpu":
        return
    folder = graph_folder(weights, settings.cache_dir)
    if folder.with_suffix(".refused").is_file():
        yield ok("model", "can't be exported to OpenVINO: it runs on sentence-transformers, which is slower")
    elif not folder.is_dir():
        yield warning("model", f"its graph isn't made yet in {settings.cache_dir}", "The first use makes it, once.")
    else:
        yield _encodes(name, settings)


def _encodes(name: str, settings: Settings) -> Finding:
    import numpy as np

    from core.embed import open_embedder

    try:
        vector = open_embedder(name, settings.cache_dir, offline=True, notify=lambda line: None).encode_query("well")
    except Exception as error:  # a damaged graph fails in the runtime's own ways
        told = f"its graph fails: {type(error).__name__}"
        return fault("model", told, f"Remove {settings.cache_dir / 'graphs'}; the next use makes it anew.")
    if not np.isclose(np.linalg.norm(vector), 1, atol=1e-3):
        return fault("model", f"a vector has the length {np.linalg.norm(vector):.3f}, not 1", "Make its graph anew.")
    return ok("model", f"its graph is made and encodes, {len(vector)} dimensions")


def index(settings: Settings) -> tuple[list[Finding], str | None]:
    """Whether the index opens and is complete, or is served; and the model that it was made with, None if unknown."""
    try:
        described = _looked_into(settings)
    except NotFound as error:
        return [warning("index", str(error).partition(". ")[0], "Make one: limpid ingest PATH")], None
    except IndexLocked as error:
        return _served(settings, error)
    except LimpidError as error:
        return [fault("index", error)], None
    return list(_described("index", settings, described)), described["fingerprint"]["model"]


def _looked_into(settings: Settings) -> dict:
    from core.index import describe_next, describe_store, open_current_store

    with open_current_store(settings) as (number, store, meta):
        described = describe_store(store, meta, number)
        described["unsettled"] = sum(1 for _ in store.records(unsettled=True))
    return {**described, "reindex": describe_next(settings, number + 1)}


def _described(area: str, settings: Settings, described: dict) -> Iterator[Finding]:
    made = described["fingerprint"]
    yield ok(
        area,
        f"generation {described['generation']}, {described['documents']:,} documents, {described['chunks']:,} chunks, "
        f"made with {made['model']}",
    )
    if not described["complete"] or described.get("unsettled"):
        told = f", documents half written: {described['unsettled']:,}" if described.get("unsettled") else ""
        yield warning(area, f"an ingest was interrupted{told}", "Run the same `limpid ingest` again.")
    chosen = ("model", "language", "bm25_k1", "bm25_b", "chunker", "chunk_tokens")
    for name in chosen:
        if name in settings.model_fields_set and getattr(settings, name) != made[name]:
            told = f"{name} is set to {getattr(settings, name)}, the index was made with {made[name]}"
            yield fault(area, IndexMismatch(told), f"Unset LIMPID_{name.upper()}, or run: limpid reindex")
    if described.get("reindex"):
        advice = "Run `limpid reindex` again." if described["reindex"]["state"] == "unfinished" else "Let it finish."
        yield warning(area, f"a reindex is {described['reindex']['state']}", advice)


def _served(settings: Settings, error: IndexLocked) -> tuple[list[Finding], str | None]:
    """What the server says that holds the index."""
    from api.holder import read_holder
    from api.served import ServedIndex

    holder = read_holder(settings.index)
    if holder is None:
        return [warning("index", str(error), "If no ingest is at work, look for the process that has it open.")], None
    try:
        with ServedIndex(holder.url, holder.secret) as server:
            server.ready()
            described = server.status()
    except LimpidError as failure:
        return [fault("server", failure, f"Look at the log of process {holder.pid}, or start it again.")], None
    served = ok("server", f"`limpid serve` holds the index and is ready at {holder.url} (process {holder.pid})")
    return [served, *_described("index", settings, described)], described["fingerprint"]["model"]


def tenants(settings: Settings) -> Iterator[Finding]:
    """Whether every tenant's index opens: of those that have a key, and of those that have a folder."""
    from api.serving.keys import KeyFile, keys_file, parse_keys, tenant_settings

    try:
        named = {key.tenant for key in (*KeyFile(keys_file(settings)).read(), *parse_keys(settings.api_keys))} - {""}
    except ConfigError:
        return  # told elsewhere
    folder = Path(settings.index) / TENANTS
    if not settings.is_server and folder.is_dir():
        named |= {path.name for path in folder.iterdir() if path.is_dir()}
    for tenant in sorted(named):
        area, own = f"tenant {tenant}", tenant_settings(settings, tenant)
        try:
            yield from _described(area, own, _looked_into(own))
        except NotFound:
            yield ok(area, "no index yet: its first request makes one")
        except IndexLocked:
            yield ok(area, "open in another process")
        except LimpidError as error:
            yield fault(area, error)


def disk(settings: Settings) -> Iterator[Finding]:
    """Whether there is room to write, for the index and for what is kept beside it."""
    places = [settings.cache_dir] if settings.is_server else [Path(settings.index), settings.cache_dir]
    for place in places:
        there = next(path for path in (place, *place.absolute().parents) if path.exists())
        free_mb = shutil.disk_usage(there).free / MEGABYTE
        told = f"{free_mb:,.0f} MB free for {place}"
        if free_mb < settings.min_free_mb:
            advice = f"Make room: below {settings.min_free_mb:,.0f} MB (min_free_mb) nothing is written."
            yield Finding("disk", "fault", told, advice, exit_code(DependencyError("")))
        elif free_mb < 4 * settings.min_free_mb:
            yield warning("disk", told, "Make room: a reindex needs as much again as the index takes up.")
        elif not os.access(there, os.W_OK):
            yield warning("disk", f"{there} can't be written to", "Fine for searching; ingests need to write.")
        else:
            yield ok("disk", told)
