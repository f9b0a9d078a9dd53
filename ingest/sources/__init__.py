"""From named paths to documents' bytes: files, members of archives, records of tables, and what users say of them."""

from ingest.sources.items import Failure, Source
from ingest.sources.stream import Sources, discover, read_paths

__all__ = ["Failure", "Source", "Sources", "discover", "read_paths"]
