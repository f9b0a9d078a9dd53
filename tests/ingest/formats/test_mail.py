"""E-mails become text with who, when and what; broken ones a reason."""

from email.message import EmailMessage

import pytest

from core.errors import InputError
from ingest.formats.mail import read_mail


def message(
    body: str = "Hello,\n\n- a < b\n# no heading\n> quoted\n", subject: str = "Grüße über Granit"
) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Ann Stöne <ann@example.org>"
    mail["To"] = "Bob <bob@example.org>, carl@example.org"
    mail["Subject"] = subject
    mail["Date"] = "Tue, 02 Jan 2024 00:04:05 +0200"
    if body:
        mail.set_content(body)
    return mail


HEADER = (
    "From: Ann Stöne <ann@example.org>\nTo: Bob <bob@example.org>, carl@example.org\n"
    "Date: Tue, 02 Jan 2024 00:04:05 +0200"
)


def test_plain_body_and_metadata():
    mail = message()
    mail.add_alternative("<p>Hello <b>html</b></p>", subtype="html")
    mail.add_attachment(b"\0\1", maintype="application", subtype="pdf", filename="map.pdf")
    content = read_mail(bytes(mail))
    assert content.text == (
        f"{HEADER}\nSubject: Grüße über Granit\nAttachments: map.pdf\n\nHello,\n\n- a < b\n# no heading\n> quoted"
    )
    assert (content.title, content.markup) == ("Grüße über Granit", "text")
    assert content.metadata == {
        **{"author": "Ann Stöne", "created": "2024-01-01T22:04:05Z", "created_day": 20240101},
        **{"from": ["ann@example.org"], "to": ["bob@example.org", "carl@example.org"], "subject": "Grüße über Granit"},
    }


def test_html_body_becomes_markdown():
    mail = message(body="")
    mail.set_content(
        "<nav>menu</nav><h2>Offer</h2><table><tr><th>a</th></tr><tr><td>1</td></tr></table>", subtype="html"
    )
    content = read_mail(bytes(mail))
    assert content.markup == "markdown"
    assert content.text.endswith("\n\n## Offer\n\n| a |\n| --- |\n| 1 |")


def test_a_forwarded_message_is_a_section():
    mail = message("See below.")
    mail.add_attachment(message("The inner text.", subject="Old news"))
    text = read_mail(bytes(mail)).text
    assert text.endswith(
        f"See below.\n\nForwarded: Old news\n===================\n\n{HEADER}\nSubject: Old news\n\nThe inner text."
    )


def test_messages_in_messages_end_somewhere():
    mail = message("The innermost.")
    for _ in range(8):
        outer = message("Around.")
        outer.add_attachment(mail)
        mail = outer
    text = read_mail(bytes(mail)).text
    assert text.count("Around.") == 6
    assert "innermost" not in text


def test_odd_mail():
    assert "café" in read_mail("Subject: x\nContent-Type: text/plain; charset=nowhere\n\ncafé".encode()).text
    assert read_mail(b"Subject: only a subject\n\n").text == "Subject: only a subject"
    assert read_mail(b"Subject: x\nDate: yesterday\nFrom: <<>,\n\nbody").text.endswith("body")


@pytest.mark.parametrize("data", [b"just a line of text", b"\n\nbody without header"])
def test_what_is_no_mail(data):
    with pytest.raises(InputError, match="begins with no header"):
        read_mail(data)
