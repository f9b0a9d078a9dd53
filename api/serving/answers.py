"""Answers written where they were made."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from pydantic_core import to_json


def json_answer(answer: dict[str, Any]) -> Response:
    """An answer in the form of its route's model, as JSON.

    For what is asked often: of a dict, FastAPI would make the model in another thread, and write that as JSON on the
    event loop, where every other request waits. The tests hold answers to their models.
    """
    return Response(to_json(answer, inf_nan_mode="null"), media_type="application/json")
