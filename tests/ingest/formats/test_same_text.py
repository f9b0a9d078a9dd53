"""The same text in every format gives the same words, and every word of it."""

import re
from email.message import EmailMessage

import pytest

from ingest.formats.epub import read_epub
from ingest.formats.html import read_html
from ingest.formats.mail import read_mail
from ingest.formats.pdf import read_pdf
from ingest.formats.slides import read_pptx
from ingest.formats.text import read_markdown, read_rst
from ingest.formats.word import read_docx
from tests.ingest.formats.files import docx, epub, paragraph, pdf, pptx, shape

TITLE = "Naïve stones"
SENTENCES = [
    "Granite is a coarse rock that cools slowly, deep below the surface.",
    "If a < b & c > d, then “quartz” isn't café-coloured: 7 of 10 grains are 2.65 g each.",
    "Where it weathers, sand and clay remain, e.g. on the beach of user@example.org.",
]


def mail() -> bytes:
    message = EmailMessage()
    message["Subject"] = TITLE
    message.set_content("\n\n".join(SENTENCES))
    return bytes(message)


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


PAGE = f"<h1>{TITLE}</h1>" + "".join(f"<p>{escaped(sentence)}</p>" for sentence in SENTENCES)
MARKUP = "\n\n".join(SENTENCES)
READ = {
    "html": lambda: read_html(f"<title>x</title><nav>menu</nav>{PAGE}<footer>foot</footer>".encode()),
    "epub": lambda: read_epub(epub({"a.xhtml": PAGE}, navigation="<ol><li>menu</li></ol>")),
    "docx": lambda: read_docx(docx("".join(map(paragraph, [TITLE, *SENTENCES])))),
    "pptx": lambda: read_pptx(pptx([shape(TITLE, kind="title") + shape(*SENTENCES, kind="body")])),
    "pdf": lambda: read_pdf(pdf([[(18, TITLE), (0, ""), *((11, sentence) for sentence in SENTENCES)]])),
    "mail": lambda: read_mail(mail()),
    "markdown": lambda: read_markdown(f"# {TITLE}\n\n{MARKUP}\n".encode()),
    "rst": lambda: read_rst(f"{TITLE}\n{'=' * len(TITLE)}\n\n{MARKUP}\n".encode()),
}


@pytest.mark.parametrize("form", READ)
def test_every_word_once_and_in_order(form):
    text = READ[form]().text.removeprefix("Subject: ")
    assert re.findall(r"[^\s#=]+", text.replace("- ", "")) == " ".join([TITLE, *SENTENCES]).replace("- ", "").split()
