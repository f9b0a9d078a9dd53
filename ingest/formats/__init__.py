"""What Limpid reads: the format of a file by its suffix, and one module for each family of formats."""

from __future__ import annotations

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".rst": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".jsonl": "beir",
}
