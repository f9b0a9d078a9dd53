"""E-books become Markdown, chapter after chapter."""

import pytest

from core.errors import InputError
from ingest.formats.epub import read_epub
from tests.ingest.formats.files import epub, packed

METADATA = """<dc:title>On stones</dc:title><dc:creator>Ann</dc:creator><dc:language>en-GB</dc:language>
<dc:date>2021-03-04</dc:date><dc:subject>granite</dc:subject>
<meta property="dcterms:modified">2022-01-02T03:04:05Z</meta>"""


def test_chapters_in_reading_order_without_navigation():
    chapters = {
        "b.xhtml": "<h1>First</h1><p>Granite &amp; <a href='c.xhtml'>links</a>.</p><pre>x\n  y</pre>",
        "a b.xhtml": "<h1>Second</h1><table><tr><th>a</th></tr><tr><td>1</td></tr></table>",
    }
    content = read_epub(epub(chapters, METADATA, "<ol><li>First</li></ol>"))
    assert content.text == ("# First\n\nGranite & links.\n\n```\nx\n  y\n```\n\n# Second\n\n| a |\n| --- |\n| 1 |")
    assert content.title == "On stones"
    assert content.metadata == {
        **{"author": "Ann", "language": "en", "created": "2021-03-04", "created_day": 20210304},
        **{"modified": "2022-01-02T03:04:05Z", "modified_day": 20220102, "subject": ["granite"]},
    }


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"no zip", "isn't valid EPUB"),
        (packed({"mimetype": "application/epub+zip"}), "lacks META-INF/container.xml"),
        (packed({"META-INF/container.xml": "<a/>"}), "names no package document"),
        (packed({"META-INF/rights.xml": "<a/>"}), "digital rights management"),
    ],
)
def test_books_that_cannot_be_used(data, expected):
    with pytest.raises(InputError, match=expected):
        read_epub(data)
