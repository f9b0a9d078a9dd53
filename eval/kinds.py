"""The kinds of findings in words: what each is called, what it means for readers, what to do and by which command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.types import Flag

SURE = 0.7  # flags with less confidence are listed; they enter neither the verdict nor a gate


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding.

    `plural` is empty where the whole index has it or hasn't. `meaning` is one sentence on what it is, `readers` one on
    what it does to those who search. `commands` carry `action` out; capital words in them are for the user to fill in.
    """

    singular: str
    plural: str
    meaning: str
    readers: str
    action: str
    commands: tuple[str, ...] = ()

    def counted(self, count: int) -> str:
        """Such as "14 muddy chunks"; without a number where it is about the whole index."""
        if not self.plural:
            return self.singular
        return f"{count:,} {self.singular if count == 1 else self.plural}"


KINDS = {  # what concerns the whole index, then lost text, then single passages
    "domain_mismatch": Kind(
        "a model that doesn't fit the corpus",
        "",
        "The encoder doesn't understand these texts.",
        "Questions asked in other words than the text's own find little; only searching by words still works.",
        "Rely on sparse or hybrid search, and choose a model trained on this language and subject.",
        ("limpid tune", "limpid reindex --model NAME"),
    ),
    "dimension_collapse": Kind(
        "collapsed dimensions",
        "",
        "The vectors use too few directions to tell passages apart.",
        "Every passage looks about equally near to a question, so results come in an almost arbitrary order.",
        "Check that the model fits the texts and that nothing is put in front of every passage.",
        ("limpid reindex --model NAME",),
    ),
    "merged_topics": Kind(
        "pair of merged topics",
        "pairs of merged topics",
        "Subjects that only the words can tell apart.",
        "A question about one subject brings passages about the other.",
        "Give sparse search more weight: the words still tell these subjects apart.",
        ("limpid tune",),
    ),
    "truncated": Kind(
        "truncated chunk",
        "truncated chunks",
        "The encoder never read the end of these passages.",
        "What stands at their end can't be found by its meaning.",
        "Split these passages below the encoder's limit: dense search can't see what stands beyond it.",
        ("limpid reindex",),
    ),
    "muddy_chunk": Kind(
        "muddy chunk",
        "muddy chunks",
        "Passages whose two halves speak of different things.",
        "One vector stands for two subjects: a question about either finds the passage late or not at all.",
        "Split each passage at the named place, so that either half gets its own vector.",
        ("limpid fix muddy_chunk --apply",),
    ),
    "boilerplate": Kind(
        "block of boilerplate",
        "blocks of boilerplate",
        "Sentences that many documents repeat.",
        "Passages that have nothing in common but this text take each other's places in the results.",
        "Strip these sentences before chunking: they make unrelated passages look alike.",
        ("limpid fix boilerplate --apply",),
    ),
    "duplicate": Kind(
        "group of duplicates",
        "groups of duplicates",
        "Passages that stand in the index more than once.",
        "The same answer fills several places of the result list.",
        "Keep one passage of each group: copies take places in the result list and add no answer.",
        ("limpid fix duplicate --apply",),
    ),
    "hub": Kind(
        "hub",
        "hubs",
        "Passages that come up for nearly every query.",
        "They push better answers down, whatever is asked.",
        "Read them: a menu, a table of contents or boilerplate is better left out of the index.",
    ),
    "crowded_region": Kind(
        "crowded region",
        "crowded regions",
        "Passages that lie closer together than the rest of the corpus, so that a vector hardly tells them apart.",
        "Which of these similar passages comes first is close to chance.",
        "Let words and metadata decide between them: hybrid search, filters, or more telling titles.",
        ("limpid tune",),
    ),
    "sparse_region": Kind(
        "sparse region",
        "sparse regions",
        "Passages that lie far from everything else in the corpus.",
        "Questions about these subjects have few answers here, and the next best hit is off the subject.",
        "Add documents on these subjects, or leave out what doesn't belong to the corpus.",
    ),
    "unplaceable_term": Kind(
        "term that the model can't place",
        "terms that the model can't place",
        "Words that the encoder cuts to pieces and doesn't know: names, codes, jargon.",
        "Questions with these words are answered by the words alone, not by what they mean.",
        "Keep hybrid search on: BM25 finds these words where the vectors don't.",
        ("limpid search 'TERM' --mode hybrid --explain",),
    ),
}


def kind_of(name: str) -> Kind:
    """The words for a kind; a plain reading of its name for one that isn't known here."""
    plain = name.replace("_", " ")
    return KINDS.get(name) or Kind(plain, f"{plain}s", "", "", "")


def ordered(names: Iterable[str]) -> list[str]:
    """Distinct kinds by severity, unknown ones last in their own order."""
    places = {name: place for place, name in enumerate(KINDS)}
    return sorted(dict.fromkeys(names), key=lambda name: places.get(name, len(places)))


def is_sure(flag: Flag) -> bool:
    """Whether a flag counts in the verdict and in a gate."""
    return flag.confidence >= SURE
