"""A hit as the frameworks' documents hold it: what a model reads, and all else as metadata."""

from __future__ import annotations

from typing import Any

from api.schemas import HitAnswer


def content_of(hit: HitAnswer) -> str:
    """The passage, under the header rows of the table that it is a part of."""
    return f"{hit.lead}\n{hit.text}" if hit.lead else hit.text


def metadata_of(hit: HitAnswer) -> dict[str, Any]:
    """All that is known of a hit besides its text, as plain JSON values.

    The document's own metadata are under `metadata`, so that no field of theirs takes another's place; `source` is
    the document's address, as several frameworks expect it.
    """
    known = hit.model_dump(mode="json", exclude={"text"}, exclude_unset=True)
    return {**known, "source": hit.uri}
