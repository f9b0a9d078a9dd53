"""What Limpid reads: the format of a file by its suffix, and one module for each family of formats."""

from __future__ import annotations

FORMATS = {
    **dict.fromkeys((".txt", ".text", ".log"), "text"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    ".rst": "rst",
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".csv": "csv",
    **dict.fromkeys((".tsv", ".tab"), "tsv"),
    ".json": "json",
    ".jsonl": "beir",
    ".epub": "epub",
    ".eml": "eml",
    ".ipynb": "notebook",
    # Languages whose classes and functions are recognised (ingest/syntax.py).
    **dict.fromkeys((".py", ".pyi"), "code:python"),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), "code:javascript"),
    **dict.fromkeys((".ts", ".mts", ".cts"), "code:typescript"),
    ".tsx": "code:tsx",
    ".go": "code:go",
    ".rs": "code:rust",
    ".java": "code:java",
    **dict.fromkeys((".c", ".h"), "code:c"),
    **dict.fromkeys((".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx"), "code:cpp"),
    # Languages that are cut at blank lines.
    **dict.fromkeys((".sh", ".bash"), "code:shell"),
    ".cs": "code:csharp",
    ".kt": "code:kotlin",
    ".lua": "code:lua",
    ".php": "code:php",
    ".pl": "code:perl",
    ".rb": "code:ruby",
    ".scala": "code:scala",
    ".sql": "code:sql",
    ".swift": "code:swift",
    ".toml": "code:toml",
    **dict.fromkeys((".yaml", ".yml"), "code:yaml"),
}
