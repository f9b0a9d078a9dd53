"""A page's own text as Markdown: headings, lists, code and tables, without navigation and other page furniture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from html.parser import HTMLParser

from core.errors import InputError
from core.types import MetadataValue
from ingest.formats.content import Content, fence, table
from ingest.formats.described import describe
from ingest.formats.text import decode_html

# Repeated over every page of a site this makes near-duplicates and hubs, and says nothing about the page.
FURNITURE_TAGS = frozenset(
    ("nav", "aside", "footer", "form", "button", "select", "script", "style", "noscript", "template", "svg", "iframe")
)
FURNITURE_ROLES = frozenset(("navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar"))
FURNITURE_CLASSES = frozenset(
    (
        *("sphinxsidebar", "related", "headerlink", "footer", "breadcrumb", "breadcrumbs", "navbar", "sidebar"),
        *("navheader", "navfooter", "wy-nav-side", "rst-footer-buttons", "skip-link", "linenos", "site-footer", "toc"),
        *("toctree-wrapper", "contents-toc", "page-toc", "prev-next-area", "edit-this-page", "skip-nav"),
    )
)
VOID_TAGS = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
INLINE_TAGS = frozenset(
    (
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i"),
        *("img", "ins", "kbd", "label", "mark", "q", "ruby", "rb", "rt", "s", "samp", "small", "span", "strike"),
        *("strong", "sub", "sup", "time", "tt", "u", "var", "wbr", "br", "html", "head", "body", "meta", "link"),
    )
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BREAKS_TABLE = frozenset(("table", "pre", "ul", "ol", "dl", *HEADINGS))
_BREAK = "\0"  # stands for <br>: a newline of the source is a mere space
_LANGUAGE = re.compile(r"(?:language|lang|highlight)-(\w+)")


# Names under which pages state what `describe` calls author, created and modified; the earlier ones win.
_AUTHOR = ("author", "article:author", "dc.creator", "dcterms.creator", "citation_author", "parsely-author")
_CREATED = (
    *("article:published_time", "dc.date.issued", "dcterms.created", "dcterms.issued", "dc.date", "dcterms.date"),
    *("datepublished", "pubdate", "publish_date", "citation_publication_date", "date"),
)
_MODIFIED = ("article:modified_time", "dcterms.modified", "datemodified", "last-modified", "og:updated_time", "revised")
_LANGUAGE_NAMES = ("dc.language", "dcterms.language", "content-language", "language", "og:locale")


def read_html(data: bytes) -> Content:
    """A page's own text, in the encoding that it declares.

    Raises `InputError` for what isn't text, and for a page without text of its own.
    """
    content = render(decode_html(data))
    if not content.text.strip():
        raise InputError("holds no text besides navigation and scripts.")
    return content


def render(page: str) -> Content:
    """Markdown text, title and metadata of an HTML page; the text is empty where the page holds none of its own.

    The title is the first `<h1>` where `<title>` only adds the site's name to it, else `<title>`. Where the page
    marks its main content (`<main>`, `role="main"`), nothing else is taken.
    """
    renderer = _Renderer()
    renderer.feed(page)
    renderer.close()
    renderer.finish()
    text = "".join(renderer.main_blocks or renderer.blocks).strip("\n")
    title = " ".join(renderer.title.split())
    if renderer.first_h1 and (not title or renderer.first_h1 in title):
        title = renderer.first_h1
    return Content(text, "markdown", title, metadata=renderer.metadata())


class _Renderer(HTMLParser):
    """Collects blocks of Markdown, each behind its separator; knows for every open tag whether it is left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self.main_blocks: list[str] = []
        self.title = ""
        self.first_h1 = ""
        self._stated: dict[str, list[str]] = {}  # what <meta> elements say, by their name in lower case
        self._open: list[tuple[str, bool, bool]] = []  # tag, left out, part of the main content
        self._counts: Counter[str] = Counter()
        self._text: list[str] = []
        self._lists: list[int | None] = []  # the next number of every open list, None where it has bullets
        self._marker = ""
        self._language = ""
        self._is_in_cell = False
        self._is_after_item = False  # the next item of a list follows without a blank line
        self._rows: list[list[str]] | None = None  # of the table being read, as long as it is a plain one

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("html", "meta"):
            self._take_statement(tag, given)
        if self._rows is not None and tag in _BREAKS_TABLE:
            self._spill_table()
        if tag not in INLINE_TAGS:
            self._begin_block(tag, given)
        elif tag == "br":
            self._text.append("\n" if self._counts["pre"] else _BREAK)
        if tag == "pre" or (tag == "code" and self._counts["pre"]):
            found = _LANGUAGE.search(given.get("class", ""))
            self._language = found[1] if found else self._language
        if tag not in VOID_TAGS:
            _, is_out, is_main = self._open[-1] if self._open else ("", False, False)
            is_out = is_out or self._is_furniture(tag, given, is_main)
            self._open.append((tag, is_out, is_main or tag == "main" or given.get("role") == "main"))
            self._counts[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if not self._counts[tag]:
            return
        if tag not in INLINE_TAGS:
            self._end_block(tag)
        closed = ""
        while closed != tag:
            closed, _, _ = self._open.pop()
            self._counts[closed] -= 1
        if self._rows is not None and not self._counts["table"]:
            self._add_table()  # its own end tag is missing
        if not (self._counts["ul"] or self._counts["ol"] or self._counts["menu"]):
            self._lists.clear()

    def handle_data(self, data: str) -> None:
        _, is_out, _ = self._open[-1] if self._open else ("", False, False)
        if self._counts["title"] and not self._counts["svg"]:
            self.title += data
        elif not is_out:
            self._text.append(data.replace(_BREAK, ""))

    def metadata(self) -> dict[str, MetadataValue]:
        """What the page says of itself, under common names."""

        def first(names: Iterable[str]) -> str:
            return next((self._stated[name][0] for name in names if name in self._stated), "")

        return describe(
            author=next((self._stated[name] for name in _AUTHOR if name in self._stated), ()),
            created=first(_CREATED),
            modified=first(_MODIFIED),
            language=first(("lang", *_LANGUAGE_NAMES)),
            description=first(("description", "og:description", "dc.description")),
            keywords=[word.strip() for word in first(("keywords",)).split(",")],
        )

    def finish(self) -> None:
        """Take in what the page left open."""
        if self._rows is not None:
            self._add_table()
        self.flush()

    def flush(self) -> None:
        """Turn the text read since the last block into a block."""
        text, self._text = "".join(self._text), []
        if self._counts["pre"]:
            self._add_code(text)
            return
        lines = [" ".join(line.split()) for line in text.split(_BREAK)]
        text = "\n".join(line for line in lines if line)
        if text:
            self._add(text)

    def _take_statement(self, tag: str, given: dict[str, str]) -> None:
        if tag == "html":
            name, value = "lang", given.get("lang") or given.get("xml:lang") or ""
        else:
            name = given.get("name") or given.get("property") or given.get("itemprop") or given.get("http-equiv") or ""
            value = given.get("content", "")
        if name and (value := " ".join(value.split())):
            self._stated.setdefault(name.strip().lower(), []).append(value)

    def _begin_block(self, tag: str, given: dict[str, str]) -> None:
        if self._rows is not None and tag not in ("tr", "td", "th", "caption"):
            self._text.append(" ")
            return
        if self._rows is not None and tag != "caption":
            self._close_cell()
        if self._rows is None or tag == "caption":
            self.flush()
        if tag == "table":
            self._rows = []
        elif tag in ("tr", "td", "th") and self._rows is not None:
            if tag == "tr" or not self._rows:
                self._rows.append([])
            self._is_in_cell = tag != "tr"
        elif tag in ("ul", "ol", "menu"):
            self._lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            number = self._lists[-1] if self._lists else None
            self._marker = "- " if number is None else f"{number}. "
            if number is not None:
                self._lists[-1] = number + 1
        elif tag == "pre":
            self._language = ""

    def _end_block(self, tag: str) -> None:
        if self._rows is not None:
            if tag in ("td", "th", "tr"):
                self._close_cell()
            elif tag == "table":
                self._add_table()
            elif tag == "caption":
                rows, self._rows = self._rows, None
                self.flush()
                self._rows = rows
            return
        if level := HEADINGS.get(tag):
            self._add_heading(level)
        else:
            self.flush()
        if tag in ("ul", "ol", "menu") and self._lists:
            self._lists.pop()
            self._is_after_item = bool(self._lists)
        if tag == "li":
            self._marker = ""

    def _take_line(self) -> str:
        """The text read since the last block, on one line."""
        text, self._text = "".join(self._text).replace(_BREAK, " "), []
        return " ".join(text.split())

    def _close_cell(self) -> None:
        if self._is_in_cell and self._rows:
            self._rows[-1].append(self._take_line())
        self._is_in_cell = False

    def _add_heading(self, level: int) -> None:
        title = self._take_line()
        if not title:
            return
        if level == 1 and not self.first_h1:
            self.first_h1 = title
        self._marker = ""
        self._append("#" * level + " " + title)

    def _add_code(self, code: str) -> None:
        if block := fence(code, self._language):
            self._add(block)

    def _add_table(self) -> None:
        self._close_cell()
        rows, self._rows = self._rows or (), None
        if block := table(rows):
            self._append(block)

    def _spill_table(self) -> None:
        """Treat a table that holds blocks as layout: its cells are blocks of their own."""
        rows, self._rows = self._rows or [], None
        text, self._text = self._text, []
        for row in rows:
            for cell in filter(None, row):
                self._append(cell)
        self._text = text

    def _add(self, text: str) -> None:
        """Append a block, as a list item or its continuation where a list is open."""
        if not self._lists:
            self._append(text)
            return
        outer = "  " * (len(self._lists) - 1)
        marker, self._marker = self._marker, ""
        first = outer + (marker or "  ")
        rest = outer + (" " * len(marker) or "  ")
        item = first + text.replace("\n", "\n" + rest)
        self._append(item, "\n" if marker and self._is_after_item else "\n\n")
        self._is_after_item = True

    def _append(self, block: str, separator: str = "\n\n") -> None:
        self._is_after_item = False
        self.blocks += (separator, block)
        if self._open and self._open[-1][2]:
            self.main_blocks += (separator, block)

    def _is_furniture(self, tag: str, given: dict[str, str], is_main: bool) -> bool:
        if tag in ("html", "body", "main") or given.get("role") == "main":
            return False
        if tag in FURNITURE_TAGS or (tag == "header" and not is_main and not self._counts["article"]):
            return True
        is_hidden = "hidden" in given or given.get("aria-hidden") == "true"
        classes = given.get("class", "").lower().split()
        return is_hidden or given.get("role") in FURNITURE_ROLES or not FURNITURE_CLASSES.isdisjoint(classes)
