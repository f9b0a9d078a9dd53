"""The text of a PDF as Markdown, and where its pages begin in it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from core.errors import InputError
from core.types import MetadataValue
from ingest.formats.content import Content, join_blocks, one_line
from ingest.formats.described import describe
from ingest.formats.pdf_layout import Line, Mark, read_layout

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfTextPage

N_SAMPLES = 5  # characters of a line whose font is asked for: the first, the last and some between
BOLD_WEIGHT = 600  # 400 is regular, 700 bold
CELL_GAP = 1.5  # of the font size: a wider gap on a line lies between two cells, not between two words
MAX_BOOKMARKS = 20_000

_FIXED_PITCH = 1  # the flag of a font descriptor, ISO 32000-1, table 123
_BOLD_FONTS = ("bold", "black", "heavy")  # a font that isn't embedded has its name, but no weight of its own
_CODE_FONTS = ("mono", "courier", "consol", "typewriter", "cmtt", "menlo", "inconsolata", "-tt", "fixed")


def read_pdf(data: bytes) -> Content:
    """The text of a PDF, headings marked, words divided at line ends joined, code fenced, running heads and tables of
    contents left out.

    Read with PDFium itself and not by kreuzberg (4.10), whose structure takes page numbers and list items for headings,
    joins the lines of code, and now and then writes "fi" for a quotation mark or `#` of its own accord.

    Raises `InputError` for a PDF that is broken, encrypted, or holds no text (a scan: characters aren't recognised
    in images).
    """
    import pypdfium2  # loads a 7 MB library

    try:
        document = pypdfium2.PdfDocument(data)
        try:
            pages = [_lines(document, number) for number in range(len(document))]
            marks = list(_marks(document))
            about = document.get_metadata_dict()
            language = _language(document)
        finally:
            document.close()
    except pypdfium2.PdfiumError as error:
        raise InputError(_reason(data, str(error))) from None
    text, starts = join_blocks(read_layout(pages, marks))
    if not text:
        raise InputError(
            f"holds no text on its {len(pages)} pages. If it is a scan, run a text recognition such as ocrmypdf first."
        )
    return Content(text, "markdown", one_line(about.get("Title") or ""), starts, metadata=_metadata(about, language))


def _reason(data: bytes, message: str) -> str:
    """Why a PDF can't be read, in plain words instead of the library's."""
    if "assword" in message or "security" in message or b"/Encrypt" in data[-4096:]:
        return "is encrypted. Remove its password, for example with qpdf --decrypt."
    if not data[:1024].lstrip().startswith(b"%PDF"):
        return "isn't a PDF, whatever its name says: it doesn't begin with %PDF."
    return "is a broken PDF. Repair it, for example with qpdf or by printing it to a new PDF."


def _metadata(about: dict[str, str], language: str) -> dict[str, MetadataValue]:
    return describe(
        author=about.get("Author") or "",
        created=about.get("CreationDate"),
        modified=about.get("ModDate"),
        language=language,
        subject=one_line(about.get("Subject") or ""),
        keywords=[word.strip() for word in (about.get("Keywords") or "").replace(";", ",").split(",")],
    )


def _language(document: PdfDocument) -> str:
    import pypdfium2.raw as pdfium

    n_bytes = pdfium.FPDFCatalog_GetLanguage(document, None, 0)
    buffer = ctypes.create_string_buffer(n_bytes)
    pdfium.FPDFCatalog_GetLanguage(document, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), n_bytes)
    return buffer.raw.decode("utf-16-le", "ignore").rstrip("\0")


def _marks(document: PdfDocument) -> Iterator[Mark]:
    """The document's bookmarks; those that point to no page of it are left out."""
    for i, bookmark in enumerate(document.get_toc(max_depth=6)):
        if i >= MAX_BOOKMARKS:
            return
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        if page is not None:
            yield Mark(bookmark.level + 1, one_line(bookmark.get_title()), page)


def _lines(document: PdfDocument, number: int) -> list[Line]:
    """The lines of a page in the order of its content."""
    page = document[number]
    text_page = page.get_textpage()
    try:
        reader = _PageReader(text_page)
        return list(reader.read())
    finally:
        text_page.close()
        page.close()


class _PageReader:
    """Asks PDFium for the characters of a page and for place and font of a few in every line."""

    def __init__(self, text_page: PdfTextPage):
        import pypdfium2.raw as pdfium

        self._pdfium = pdfium
        self._page = text_page
        self._box = tuple(ctypes.c_double() for _ in range(4))
        self._name = ctypes.create_string_buffer(128)
        self._flags = ctypes.c_int()
        self._fonts: dict[tuple[bytes, int], tuple[bool, bool]] = {}

    def read(self) -> Iterator[Line]:
        """Every line that holds more than whitespace."""
        text = self._text()
        start = 0
        for part in text.split("\r\n"):
            inked = [start + i for i, character in enumerate(part) if not character.isspace()]
            if inked:
                yield self._line(text, inked)
            start += len(part) + 2

    def _text(self) -> str:
        """One character for each of PDFium's, so that offsets are its indices."""
        n_characters = self._page.count_chars()
        text = self._page.get_text_range() if n_characters > 0 else ""
        if len(text) == n_characters:
            return text
        codes = (self._pdfium.FPDFText_GetUnicode(self._page, i) for i in range(n_characters))
        return "".join(map(chr, codes))

    def _line(self, text: str, inked: list[int]) -> Line:
        first, last = inked[0], inked[-1]
        samples = sorted({inked[i * (len(inked) - 1) // (N_SAMPLES - 1)] for i in range(N_SAMPLES)})
        left, _, bottom, _ = self._place(first)
        right = self._place(last)[1]
        fonts = [self._font(i) for i in samples]
        size = max(self._pdfium.FPDFText_GetFontSize(self._page, i) for i in (first, last))
        return Line(
            text=text[first : last + 1],
            left=left,
            right=right,
            bottom=bottom,
            size=round(size, 1),
            is_mono=all(is_mono for is_mono, _ in fonts),
            is_bold=all(is_bold for _, is_bold in fonts),
            cells=tuple(self._cells(text, inked, size)),
        )

    def _cells(self, text: str, inked: list[int], size: float) -> Iterator[tuple[float, float, str]]:
        """Left and right edge and text of the parts of a line that wide gaps divide."""
        begin = inked[0]
        for before, after in pairwise(inked):
            if after > before + 1:
                end, resume = self._place(before)[1], self._place(after)[0]
                if resume - end > CELL_GAP * size:
                    yield self._place(begin)[0], end, text[begin : before + 1]
                    begin = after
        if begin != inked[0]:
            yield self._place(begin)[0], self._place(inked[-1])[1], text[begin : inked[-1] + 1]

    def _place(self, i: int) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of a character, in points."""
        self._pdfium.FPDFText_GetCharBox(self._page, i, *self._box)
        left, right, bottom, top = (side.value for side in self._box)
        return left, right, bottom, top

    def _font(self, i: int) -> tuple[bool, bool]:
        """Whether a character's font is one of fixed pitch, and whether it is bold."""
        self._pdfium.FPDFText_GetFontInfo(self._page, i, self._name, len(self._name), self._flags)
        key = (self._name.value, self._flags.value)
        if key not in self._fonts:
            name = key[0].decode("utf-8", "replace").lower()
            is_bold = any(part in name for part in _BOLD_FONTS)
            self._fonts[key] = (
                bool(key[1] & _FIXED_PITCH) or any(part in name for part in _CODE_FONTS),
                is_bold or self._pdfium.FPDFText_GetFontWeight(self._page, i) >= BOLD_WEIGHT,
            )
        return self._fonts[key]
