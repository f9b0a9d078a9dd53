"""A collection whose words, or a share of them, are replaced by invented ones, everywhere alike.

Words still match, so BM25 loses little, but the encoder has never seen them: what a private vocabulary or a language
that the encoder doesn't know does to an index, with the collection's own judgements to measure it by.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from pathlib import Path

VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxz"
OTHER_VOWELS = "eioua"
SEED = 1
_WORD = re.compile(r"[A-Za-z]{3,}")
_ENDING = re.compile(r"^(.+?)(ings?|edly|ed|es|s|ly)?$")  # kept, so that stemming still finds a word's other forms
COMMON_WORDS = """the and for are with this that from was were not you but can how what when where which who why does
did has have had will would should could into than then there their its his her our your they them these those over also
been being more most some such only other any all each out about after before between under very just one two may might
must use used using"""
COMMON = frozenset(COMMON_WORDS.split())


def _letters() -> dict[int, str]:
    rng, shuffled = random.Random(SEED), list(CONSONANTS)
    while any(one == other for one, other in zip(shuffled, CONSONANTS, strict=True)):
        rng.shuffle(shuffled)
    lower, replaced = VOWELS + CONSONANTS, OTHER_VOWELS + "".join(shuffled)
    return str.maketrans(lower + lower.upper(), replaced + replaced.upper())


LETTERS = _letters()


def invent(text: str, share: float) -> str:
    """The text with that share of its words, common ones left out, replaced; a word always by the same one."""

    def replaced(match: re.Match[str]) -> str:
        word = match[0]
        stem, ending = _ENDING.match(word).groups()
        key = hashlib.md5(_ENDING.match(word.lower())[1].encode(), usedforsecurity=False).hexdigest()
        if word.lower() in COMMON or int(key, 16) % 1000 >= share * 1000:
            return word
        return stem.translate(LETTERS) + (ending or "")

    return _WORD.sub(replaced, text)


def write_invented(source: Path, target: Path, share: float) -> Path:
    """Write the collection `source` with invented words as the collection `target`, which is returned."""
    target.mkdir(parents=True, exist_ok=True)
    for name, fields in (("corpus.jsonl", ("title", "text")), ("queries.jsonl", ("text",))):
        with open(source / name, encoding="utf-8") as lines, open(target / name, "w", encoding="utf-8") as out:
            for line in lines:
                entry = json.loads(line)
                entry |= {field: invent(entry.get(field) or "", share) for field in fields}
                out.write(json.dumps(entry) + "\n")
    shutil.copyfile(source / "qrels.tsv", target / "qrels.tsv")
    return target
