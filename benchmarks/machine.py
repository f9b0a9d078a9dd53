"""The machine's shape: what a figure has to be read with.

python -m benchmarks.machine
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# The instruction sets that decide how fast an encoder runs, by the kernel's names for them.
INSTRUCTION_SETS = {
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "AMX": ("amx_tile",),
}
LIBRARIES = ("qdrant-edge-py", "openvino", "numpy", "tokenizers")


def shape(libraries: Sequence[str] = ()) -> dict:
    """Processor, cores, memory, instruction sets, Python, and versions of our engine and of `libraries`.

    A library that isn't installed has the version None; a fact that this system doesn't tell is None.
    """
    flags = set((_cpu_info("flags") or "").split())
    return {
        "cpu": _cpu_info("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "instruction_sets": {
            name: any(flag in flags for flag in any_of) if flags else None for name, any_of in INSTRUCTION_SETS.items()
        },
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in dict.fromkeys((*LIBRARIES, *libraries))},
    }


def has_fast_matrices(machine: dict) -> bool:
    """Whether the processor multiplies bf16 matrices in hardware, which half of the encoder's speed rests on."""
    sets = machine["instruction_sets"]
    return bool(sets["bf16"] or sets["AMX"])


def describe(machine: dict) -> str:
    """The shape in one line."""
    sets = ", ".join(name if has else f"no {name}" for name, has in machine["instruction_sets"].items())
    libraries = ", ".join(f"{name} {number or 'missing'}" for name, number in machine["libraries"].items())
    memory = f", {machine['memory_gb']} GB" if machine["memory_gb"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({sets}){memory}, {machine['system']}; "
        f"Python {machine['python']}, {libraries}"
    )


def resident_mb(pid: int | str = "self") -> tuple[float, float]:
    """A process' resident memory, and the part of it that isn't pages of files; zeros where no system tells."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0, 0.0
    values = dict(line.split(":", 1) for line in lines)
    return int(values["VmRSS"].split()[0]) / 1024, int(values["RssAnon"].split()[0]) / 1024


def _cpu_info(key: str) -> str | None:
    """The first value of a key in /proc/cpuinfo; None where there is no such file or key."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next(
        (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key), None
    )


def _memory_gb() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError, AttributeError):
        return None


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Print the shape as JSON."""
    argparse.ArgumentParser(prog="python -m benchmarks.machine", description=main.__doc__).parse_args()
    print(json.dumps(shape(), indent=2))


if __name__ == "__main__":
    main()
