"""Retrieved text that poses as instructions: finding it, and taking the form away that a model may obey.

Finding is a matter of known phrases, so it misses what is said otherwise and sometimes flags what only talks about
such phrases. What protects the prompt's structure is the fence and the escaping, which don't depend on it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from api.chat.schemas import InjectionFlag
from search.rendering import Cited

MAX_SHOWN = 100
# Letters that no screen shows (Unicode tags, U+E0020 to U+E007E): ASCII minus this offset. Flags of regions use up to
# seven in a row.
TAG_OFFSET = 0xE0000
_INVISIBLE = re.compile(r"[\U000E0020-\U000E007E]{8,}")
_TAGS = {TAG_OFFSET + code: code for code in range(0x20, 0x7F)}

_ROLES = r"(?:system|assistant|developer)"
_PATTERNS: dict[str, re.Pattern[str]] = {
    reason: re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for reason, pattern in {
        "instruction": (
            r"\b(?:ignore|disregard|forget|override|bypass|(?:do not|don't) (?:follow|obey))\b(?:\W+\w+){0,4}?"
            r"\W+(?:instructions?|prompts?|rules|directives?|guidelines|commands?|(?:previous|prior|above) context)\b"
            r"|\b(?:new|updated|real|secret) (?:system )?instructions?\s*:"
            r"|\byou are now (?:\w+ ){0,4}?(?:assistant|ai|chatbot|language model|dan|unrestricted|developer mode)\b"
            r"|\b(?:reveal|print|repeat|show|output|leak)\b(?:\W+\w+){0,4}?\W+"
            r"(?:system prompt|hidden prompt|(?:initial|hidden|your) instructions)\b"
            r"|\bignor(?:iere|ieren sie)\b(?:\W+\w+){0,4}?\W+(?:anweisung|instruktion|regel)\w*"
            r"|\b(?:ignore[zr]?|oublie[zr]?)\b(?:\W+\w+){0,4}?\W+(?:consignes|règles)\b"
            r"|\b(?:ignor[ae]|olvida)\b(?:\W+\w+){0,4}?\W+(?:instrucciones|reglas|istruzioni|instruções)\b"
        ),
        "role": (
            rf"^[ \t>*_#-]*{_ROLES}(?: (?:prompt|message|instructions?|override|note))?[ \t*_]*:"
            rf"|</?{_ROLES}(?:[_ -]?(?:prompt|message|instructions?))?>"
            r"|^[ \t]*#{1,6}[ \t]*(?:instructions?|response|system|assistant)[ \t]*:"
        ),
        "chat_token": (
            r"<\|[^|<>\n]{1,40}\|>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
            r"|</?(?:start|end)_of_turn>|<｜[^｜<>\n]{1,40}｜>"
        ),
        "fence": r"</(?:context|passage|document)>|</?retrieved-|<passage label",
    }.items()
}
# What is still a token or a role in a text whose <, > and & are escaped, and the character to write as a reference.
_LIVE = re.compile(
    r"(?P<token>\[)(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
    r"|^[ \t]*(?P<heading>\#)(?=\#*[ \t]*(?:instructions?|response|system|assistant|user|human)\b)"
    r"|^[ \t]*(?:system|assistant|developer|user|human)[ \t]*(?P<role>:)"
    r"|(?P<tag>[\U000E0020-\U000E007E])",
    re.IGNORECASE | re.MULTILINE,
)


def find_flags(passages: Sequence[Cited]) -> list[InjectionFlag]:
    """One flag for each reason that a passage, its title or its headings give."""
    return [
        InjectionFlag(
            label=cited.label, document_id=cited.document_id, chunk_id=cited.chunk_ids[0], reason=reason, found=found
        )
        for cited in passages
        for reason, found in _suspicions((cited.title, *cited.headings, cited.body))
    ]


def neutralise(xml: str) -> str:
    """The rendered context with what a model's chat template may take for a token or a turn as character references.

    Reading the XML gives the same text again.
    """
    return _LIVE.sub(_referenced, xml)


def _suspicions(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    text = "\n".join(texts)
    if hidden := _INVISIBLE.search(text):
        yield "invisible", hidden[0].translate(_TAGS)[:MAX_SHOWN]
    readable = _readable(text)
    for reason, pattern in _PATTERNS.items():
        if found := pattern.search(readable):
            yield reason, " ".join(found[0].split())[:MAX_SHOWN]


def _readable(text: str) -> str:
    """As a model reads it: compatibility forms plain, hidden letters shown, what has no width left out."""
    plain = unicodedata.normalize("NFKC", text.translate(_TAGS)).replace("’", "'")
    return "".join(character for character in plain if unicodedata.category(character) != "Cf")


def _referenced(found: re.Match[str]) -> str:
    start, end = found.span(found.lastgroup or 0)
    before, after = found[0][: start - found.start()], found[0][end - found.start() :]
    return f"{before}&#{ord(found.string[start])};{after}"
