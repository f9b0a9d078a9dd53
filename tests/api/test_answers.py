"""What is answered often goes out as it was made."""

from __future__ import annotations

import httpx

from api.server import IDLE_S
from api.serving.answers import json_answer


def test_an_answer_is_json_in_utf_8():
    answer = json_answer({"query": "Öl", "score": 0.5, "rank": None, "hits": []})
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == '{"query":"Öl","score":0.5,"rank":null,"hits":[]}'.encode()


def test_what_is_no_number_is_null():
    """JSON has neither NaN nor infinities."""
    assert json_answer({"score": float("nan"), "far": float("inf")}).body == b'{"score":null,"far":null}'


def test_connections_outlive_those_that_the_client_library_keeps():
    """Else both would close them at the same time, and a request that is on its way then is lost."""
    assert httpx.Limits().keepalive_expiry < IDLE_S
