"""The zip packages that Office documents and e-books are: opened within limits, their parts parsed."""

from __future__ import annotations

import io
import zipfile
import zlib
from posixpath import dirname, join, normpath
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from core.errors import InputError
from core.types import MetadataValue
from ingest.formats.described import describe

MAX_PART_BYTES = 256 * 2**20  # of XML; parsed it takes about ten times that
MAX_UNPACKED_BYTES = 2**30  # of everything, pictures included

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CORE = "{http://schemas.openxmlformats.org/package/2006/metadata/core-properties}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_TERMS = "{http://purl.org/dc/terms/}"
_RELATION = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


class Package:
    """The parts of a zip package by name.

    Raises `InputError` for what isn't a zip, is encrypted, or would unpack to more than `MAX_UNPACKED_BYTES`.
    """

    def __init__(self, data: bytes, kind: str):
        if data.startswith(_OLE):
            if "EncryptedPackage".encode("utf-16-le") in data:
                raise InputError("is encrypted. Save it without a password.")
            raise InputError(f"isn't {kind} but an older binary file under its name. Save it anew as {kind}.")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError, EOFError):
            raise InputError(f"isn't valid {kind}: it is no intact zip package. Open and save it anew.") from None
        self.names = set(self._zip.namelist())
        size = sum(info.file_size for info in self._zip.infolist())
        if size > MAX_UNPACKED_BYTES:
            raise InputError(
                f"would unpack to {size / 2**20:.0f} MiB; the limit for {kind} is {MAX_UNPACKED_BYTES / 2**20:.0f} MiB."
            )
        self._kind = kind

    def read(self, name: str) -> bytes:
        """The bytes of a part.

        Raises `InputError` for one that is missing, encrypted, damaged or larger than `MAX_PART_BYTES`.
        """
        try:
            size = self._zip.getinfo(name).file_size
            if size > MAX_PART_BYTES:
                raise InputError(
                    f"holds {name} of {size / 2**20:.0f} MiB; "
                    f"the limit for one part is {MAX_PART_BYTES / 2**20:.0f} MiB."
                )
            return self._zip.read(name)
        except KeyError:
            raise InputError(f"isn't valid {self._kind}: it lacks {name}. Open and save it anew.") from None
        except RuntimeError:
            raise InputError("is encrypted. Save it without a password.") from None
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError):
            raise InputError(f"is damaged: {name} can't be unpacked. Open and save it anew.") from None

    def parse(self, name: str) -> ET.Element:
        """The root element of an XML part.

        Raises `InputError` as `read` does, and for XML that isn't well-formed or defines entities.
        """
        data = self.read(name)
        if b"<!ENTITY" in data[:65536]:
            raise InputError(f"defines entities in {name}, which {self._kind} doesn't need.")
        try:
            return ET.fromstring(data)
        except (ET.ParseError, ValueError):
            raise InputError(f"is damaged: {name} isn't well-formed XML. Open and save it anew.") from None

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """What a part refers to: the last word of the relation's type and the part's name, by the relation's id."""
        rels = join(dirname(name), "_rels", name.rpartition("/")[2] + ".rels")
        if rels not in self.names:
            return {}
        found = {}
        for relation in self.parse(rels).iter(_RELATION):
            if relation.get("TargetMode") != "External":
                target = resolve(name, relation.get("Target", ""))
                found[relation.get("Id", "")] = (relation.get("Type", "").rpartition("/")[2], target)
        return found

    def core_properties(self) -> tuple[str, dict[str, MetadataValue]]:
        """Title and metadata of an Office document."""
        name = next((part for kind, part in self.relations("").values() if kind == "core-properties"), "")
        if name not in self.names:
            return "", {}
        root = self.parse(name)

        def text(tag: str) -> str:
            return " ".join((root.findtext(tag) or "").split())

        return text(f"{_DC}title"), describe(
            author=[part.strip() for part in text(f"{_DC}creator").split(";")],
            created=text(f"{_TERMS}created"),
            modified=text(f"{_TERMS}modified"),
            language=text(f"{_DC}language"),
            subject=text(f"{_DC}subject"),
            description=text(f"{_DC}description"),
            keywords=[word.strip() for word in text(f"{_CORE}keywords").replace(";", ",").split(",")],
        )


def resolve(name: str, target: str) -> str:
    """The name of the part that `target` stands for in the part `name`."""
    target = unquote(target.partition("#")[0])
    return normpath(join(dirname(name), target)).lstrip("/") if target else name
