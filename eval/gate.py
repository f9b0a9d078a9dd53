"""Gates for continuous integration: how many findings of a kind a corpus may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import InputError
from core.types import Flag
from eval.kinds import KINDS, SURE, is_sure

ANY = "any"


@dataclass(frozen=True, slots=True)
class Gate:
    """At most `limit` sure findings of `kind`, or of all kinds together where it is "any"."""

    kind: str
    limit: int = 0


def parse_gates(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Gates from `KIND` or `KIND=N`, in the order given.

    Raises InputError for an unknown kind, naming all, for an N that is no count, and for a kind given twice.
    """
    gates: dict[str, Gate] = {}
    for text in texts:
        kind, has_limit, limit = text.partition("=")
        kind = kind.strip().lower().replace("-", "_")
        if kind != ANY and kind not in KINDS:
            raise InputError(f'--fail-on {text}: unknown kind "{kind}". Use {ANY}, {", ".join(KINDS)}.')
        if has_limit and not (limit.strip().isascii() and limit.strip().isdigit()):
            raise InputError(f'--fail-on {text}: "{limit}" is no count. Use a whole number, such as {kind}=3.')
        if kind in gates:
            raise InputError(f"--fail-on {text}: {kind} is given twice. Give it once, with one limit.")
        gates[kind] = Gate(kind, int(limit) if has_limit else 0)
    return tuple(gates.values())


def judge(gates: Sequence[Gate], flags: Sequence[Flag]) -> dict[str, object] | None:
    """Whether each gate holds, as plain JSON values; None without gates. Only flags with a confidence ≥ .7 count."""
    if not gates:
        return None
    counts = Counter(flag.kind for flag in flags if is_sure(flag))
    counts[ANY] = counts.total()
    limits = [
        {"kind": gate.kind, "limit": gate.limit, "count": counts[gate.kind], "passed": counts[gate.kind] <= gate.limit}
        for gate in gates
    ]
    return {"passed": all(limit["passed"] for limit in limits), "sure_from": SURE, "limits": limits}
