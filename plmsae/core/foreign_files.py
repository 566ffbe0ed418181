"""What a file really is when it is not what was expected, told from its first bytes.

Downloads go wrong in a few ways that repeat: the page about a file in place of the file, a Git LFS
pointer in place of the content, a table saved by Excel. Naming what was found says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is.

    Attributes
    ----------
    name : str
        With its article: ``an Excel workbook``.
    hint : str
        What to do about it.
    """

    name: str
    hint: str


_DECOMPRESS = "give plain text, gzip or zstd"
_DOWNLOAD = "download the file itself, not the page about it"
_AS_TSV = "save the sheet as tab-separated text (.tsv) and give that"
_AS_UTF8 = "save it as UTF-8, for example with: iconv -f UTF-16 -t UTF-8"

LFS_POINTER = Kind("a Git LFS pointer, not the content", "fetch the content with: git lfs pull")

_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"version https://git-lfs.github.com/spec/", LFS_POINTER),
    (b"BZh", Kind("a bzip2 file", _DECOMPRESS)),
    (b"\xfd7zXZ", Kind("an xz file", _DECOMPRESS)),
    (b"7z\xbc\xaf", Kind("a 7z file", _DECOMPRESS)),
    (b"Rar!", Kind("a rar file", _DECOMPRESS)),
    (b"\xd0\xcf\x11\xe0", Kind("an old Excel or Word file", _AS_TSV)),
    (b"PAR1", Kind("a Parquet file", _DECOMPRESS)),
    (b"%PDF", Kind("a PDF file", _DECOMPRESS)),
    (b"{\\rtf", Kind("an RTF document", "save it as plain text")),
    (b"\xff\xfe", Kind("UTF-16 text", _AS_UTF8)),
    (b"\xfe\xff", Kind("UTF-16 text", _AS_UTF8)),
    (b"\x00\x00\xfe\xff", Kind("UTF-32 text", "save it as UTF-8")),
)
_MARKUP: tuple[tuple[bytes, Kind], ...] = (
    (b"<!doctype html", Kind("a web page (HTML)", _DOWNLOAD)),
    (b"<html", Kind("a web page (HTML)", _DOWNLOAD)),
    (b"<head", Kind("a web page (HTML)", _DOWNLOAD)),
    (b"<?xml", Kind("an XML document", _DOWNLOAD)),
    (b"<error", Kind("an XML error message", _DOWNLOAD)),
    (b'{"error', Kind("a JSON error message", _DOWNLOAD)),
    (b'{"message', Kind("a JSON error message", _DOWNLOAD)),
)
_ZIP = b"PK\x03\x04"
_IN_ZIP: tuple[tuple[bytes, Kind], ...] = (
    (b"xl/", Kind("an Excel workbook", _AS_TSV)),
    (b"opendocument.spreadsheet", Kind("an OpenDocument spreadsheet", _AS_TSV)),
    (b"word/", Kind("a Word document", "save it as plain text")),
)


def kind_of(head: bytes) -> Kind | None:
    """Return what a file is that begins with `head`; None if it is nothing known here.

    Parameters
    ----------
    head : bytes
        The first bytes; a few hundred tell most kinds, those of a zip archive by what it holds.

    Examples
    --------
    >>> kind_of(b"version https://git-lfs.github.com/spec/v1").hint
    'fetch the content with: git lfs pull'
    >>> kind_of(b">P12345") is None
    True
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head.startswith(_ZIP):
        default = Kind("a zip file", _DECOMPRESS)
        return next((kind for inner, kind in _IN_ZIP if inner in head), default)
    text = head[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, kind in _MARKUP:
        if text.replace(b'{ "', b'{"').startswith(start):
            return kind
    return Kind("UTF-16 text", _AS_UTF8) if _is_unmarked_utf16(head) else None


def _is_unmarked_utf16(head: bytes) -> bool:
    """Whether every second byte of a text is zero, as in UTF-16 without a byte order mark."""
    one, other = head[0:64:2], head[1:64:2]
    if len(other) < 4 or any(one) == any(other):
        return False
    text = one if any(one) else other
    return all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in text)
