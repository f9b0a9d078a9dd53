"""An e-mail as text: who wrote to whom, and the body without its encodings."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage

from core.errors import InputError
from ingest.formats.content import Content, one_line
from ingest.formats.described import describe
from ingest.formats.html import render
from ingest.formats.text import normalize_newlines

MAX_FORWARDED = 5  # messages inside messages; deeper ones are named, not read

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def read_mail(data: bytes) -> Content:
    """Header lines and body of a message, and those of messages forwarded in it; attachments are named.

    The plain body is taken where there is one, else the HTML one. Read here and not by kreuzberg (4.10), which knows
    no forwarded message. `from`, `to`, `cc` are metadata beside author and date.

    Raises `InputError` for what has no header.
    """
    try:
        message = email.message_from_bytes(data, policy=email.policy.default)
        if not message.keys():
            raise InputError("isn't an e-mail: it begins with no header.")
        parts = list(_parts(message, 0))
        subject = _header(message, "Subject")
        known = describe(
            author=_names(message, "From"),
            created=_header(message, "Date"),
            language=_header(message, "Content-Language"),
            to=_addresses(message, "To"),
            cc=_addresses(message, "Cc"),
            subject=subject,
            **{"from": _addresses(message, "From")},
        )
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):  # headers that its parser trips over
        raise InputError("is a broken e-mail: its header can't be read.") from None
    markup = "text" if _is_plain(message) else "markdown"
    return Content("\n\n".join(filter(None, parts)), markup, subject, metadata=known)


def _parts(message: EmailMessage, depth: int) -> Iterator[str]:
    names = ("From", "To", "Cc", "Date", "Subject")
    lines = [f"{name}: {value}" for name in names if (value := _header(message, name))]
    attached = [part for part in message.walk() if part is not message and part.get_filename()]
    if attached:
        lines.append("Attachments: " + ", ".join(one_line(str(part.get_filename())) for part in attached))
    yield "\n".join(lines)
    yield _body(message)
    for part in message.iter_attachments() if message.is_multipart() else ():
        if part.get_content_type() == "message/rfc822" and depth < MAX_FORWARDED:
            forwarded = part.get_content()
            title = "Forwarded: " + (_header(forwarded, "Subject") or "message")
            yield f"{title}\n{'=' * len(title)}"
            yield from _parts(forwarded, depth + 1)


def _body(message: EmailMessage) -> str:
    page = message.get_body(("html",))
    if page is None or _is_plain(message):
        return _content(message.get_body(("plain",))).strip("\n").rstrip()
    return render(_content(page)).text


def _is_plain(message: EmailMessage) -> bool:
    """Whether the plain body is the one to take: it holds text, or there is no other."""
    return message.get_body(("html",)) is None or bool(_content(message.get_body(("plain",))).strip())


def _content(part: EmailMessage | None) -> str:
    if part is None:
        return ""
    try:
        text = part.get_content()
    except LookupError:  # a charset that nobody knows
        text = (part.get_payload(decode=True) or b"").decode("utf-8", "replace")
    return _CONTROL.sub("", normalize_newlines(text if isinstance(text, str) else ""))


def _header(message: EmailMessage, name: str) -> str:
    return _CONTROL.sub("", one_line(str(message[name] or "")))


def _addresses(message: EmailMessage, name: str) -> list[str]:
    header = message[name]
    return [address.addr_spec for address in header.addresses if address.addr_spec] if header else []


def _names(message: EmailMessage, name: str) -> list[str]:
    header = message[name]
    return [address.display_name or address.addr_spec for address in header.addresses] if header else []
