"""Bytes of a source, decompressed, with every kind of damage turned into one clear error.

The compression is found from the first bytes, never from the name. Memory is bounded: both
decoders give out at most about a megabyte at a time (zstd: what 4 KiB of input can expand to).
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from plmsae.core.errors import FormatError, InputError, NotFoundError, printable
from plmsae.core.foreign_files import kind_of
from plmsae.core.object_store import is_remote, open_object

Source = str | os.PathLike[str]
"""A path, ``s3://BUCKET/KEY``, or ``"-"`` for standard input."""

CHUNK = 1 << 20
_LONGEST_LINE = 1 << 26
_ZSTD_INPUT = 1 << 12

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"

_MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors put before UTF-8 text

# A mark before a header stands where two files were joined, the first without a final line end.
_JOINED = re.compile(rb"(?:\xef\xbb\xbf)+>")
_MARKS = re.compile(rb"^(?:\xef\xbb\xbf)+", re.MULTILINE)
_UNDECIDED = re.compile(rb"(?:\r|(?:\xef\xbb\xbf)*(?:\xef\xbb?)?)\Z")


def source_name(source: Source) -> str:
    """Return what messages call `source`: the path as given, or ``standard input``."""
    return "standard input" if os.fspath(source) == "-" else printable(os.fspath(source))


def is_stream(source: Source) -> bool:
    """Return whether `source` can be read only once: standard input, a pipe or a device.

    ``/dev/stdin`` and the shell's ``<(command)`` are such paths.
    """
    if os.fspath(source) == "-":
        return True
    path = Path(source)
    return not is_remote(source) and path.exists() and not path.is_file() and not path.is_dir()


def need_file(source: Source, *, why: str) -> None:
    """Raise `InputError` if `source` can be read only once.

    Parameters
    ----------
    source : str or Path
        A path, or ``"-"``.
    why : str
        Completes "a file is needed, because …".
    """
    if is_stream(source):
        raise InputError(
            f"a pipe can be read only once; a file is needed, because {why}",
            where=source_name(source),
            hint="write it to a file first",
        )


def check_source(source: Source) -> None:
    """Raise `InputError` if `source` is missing, a folder, empty or not readable."""
    if os.fspath(source) == "-" or is_remote(source):
        return
    path, name = Path(source), source_name(source)
    if not path.exists():
        raise NotFoundError("no such file", where=name)
    if path.is_dir():
        raise InputError("this is a folder, a file is needed", where=name)
    if path.is_file() and path.stat().st_size == 0:
        raise FormatError("the file is empty", where=name)
    if not os.access(path, os.R_OK):
        raise InputError("the file cannot be read (permission denied)", where=name)


def byte_chunks(source: Source) -> Iterator[bytes]:
    """Yield the content of `source` in chunks, decompressed if it is gzip or zstd.

    Parameters
    ----------
    source : str or Path
        A path, or ``"-"`` for standard input.

    Yields
    ------
    bytes
        Never empty.

    Raises
    ------
    InputError
        If the source is missing, empty, compressed in another way, cut short or corrupt. For damage
        in the middle, `line` is the first line that could not be read whole.
    """
    check_source(source)
    name = source_name(source)
    raw = _raw_chunks(source)
    head = b""
    for chunk in raw:
        head += chunk
        if len(head) >= 8:
            break
    if not head:
        raise FormatError("the input is empty", where=name)
    whole = _chain(head, raw)
    if head.startswith(_GZIP):
        content = _decode(whole, _gunzip, "gzip", name)
    elif head.startswith(_ZSTD) or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        content = _decode(whole, _unzstd, "zstd", name)
    else:
        content = whole
    nothing = True
    for chunk in content:
        if nothing and (kind := kind_of(chunk)) is not None:
            raise FormatError(f"this is {kind.name}", where=name, hint=kind.hint)
        nothing = False
        yield chunk
    if nothing:
        raise FormatError("the input is empty once decompressed", where=name)


def unix_text(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `chunks` with every line end as LF, and without byte order marks.

    CR LF and CR alone end a line wherever they stand: files are joined from pieces of several
    systems. A mark is dropped at the start of every line, and one right before a ``>`` starts a
    line.
    """
    rest, line_start = b"", True
    for chunk in chunks:
        data = rest + chunk
        # What the next chunk may make another thing of waits for it.
        waiting = _UNDECIDED.search(data, max(0, len(data) - 24))
        cut = waiting.start() if waiting else len(data)
        data, rest = data[:cut], data[cut:]
        if data and (text := _tidy_text(data, line_start)):
            yield text
            line_start = text.endswith(b"\n")
    if rest and (text := _tidy_text(rest, line_start)):
        yield text


def _tidy_text(data: bytes, line_start: bool) -> bytes:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if _MARK in data:
        first = b"" if line_start else b"x"  # so that ^ does not match where no line starts
        data = _MARKS.sub(b"", first + data)[len(first) :]
        data = _JOINED.sub(b"\n>", data)
    return data


def text_lines(name: str, chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of UTF-8 `chunks` without their line ends, as `unix_text` takes them.

    Raises
    ------
    InputError
        If a line is not UTF-8, or longer than 64 MiB.
    """
    number, rest = 0, b""
    for chunk in unix_text(chunks):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            yield _decode_line(name, line, number)
        if len(rest) > _LONGEST_LINE:
            raise FormatError(
                f"a line of over {_LONGEST_LINE:,} bytes", where=name, line=number + 1
            )
    if rest:
        yield _decode_line(name, rest, number + 1)


def not_utf8(name: str, data: bytes, error: UnicodeDecodeError, first_line: int) -> InputError:
    """Return the error for bytes that are not UTF-8; `first_line` is the line `data` starts at."""
    line = first_line + data.count(b"\n", 0, error.start)
    found = data[max(0, error.start - 8) : error.start + 8].decode("ascii", "backslashreplace")
    return FormatError("the text is not UTF-8", where=name, line=line, value=found)


def _decode_line(name: str, line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(name, line, error, number) from None


def _raw_chunks(source: Source) -> Iterator[bytes]:
    if os.fspath(source) == "-":
        yield from iter(lambda: sys.stdin.buffer.read(CHUNK), b"")
        return
    try:
        remote = is_remote(source)
        with open_object(os.fspath(source)) if remote else Path(source).open("rb") as handle:
            while chunk := handle.read(CHUNK):
                yield chunk
    except OSError as error:
        raise InputError(
            f"the file cannot be read ({error.strerror or error})", where=source_name(source)
        ) from error


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


class _DamageError(Exception):
    """What is wrong with compressed data, in words."""


def _decode(
    raw: Iterator[bytes],
    decoder: Callable[[Iterator[bytes]], Iterator[bytes]],
    kind: str,
    name: str,
) -> Iterator[bytes]:
    """Run `decoder`; count the lines it gave out, so that damage is placed."""
    line = 1
    try:
        for chunk in decoder(raw):
            line += chunk.count(b"\n")
            yield chunk
    except _DamageError as error:
        raise FormatError(f"the {kind} data are {error}", where=name, line=line) from None


def _gunzip(raw: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(wbits=31)

    def inflate(data: bytes) -> bytes:
        try:
            return member.decompress(data, CHUNK)
        except zlib.error as error:
            raise _DamageError(f"corrupt ({str(error).rpartition(': ')[2]})") from None

    for chunk in raw:
        data = chunk
        while data:
            if member.eof:  # another member follows, or the zero padding of tapes
                data = data.lstrip(b"\0")
                if not data:
                    break
                member = zlib.decompressobj(wbits=31)
            if out := inflate(data):
                yield out
            data = member.unused_data if member.eof else member.unconsumed_tail
    while not member.eof:
        if not (out := inflate(b"")):
            raise _DamageError("cut short: was the download complete?")
        yield out


def _unzstd(raw: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    begun = False
    for chunk in raw:
        for start in range(0, len(chunk), _ZSTD_INPUT):
            data = chunk[start : start + _ZSTD_INPUT]
            while data:
                try:
                    out = frame.decompress(data)
                except zstandard.ZstdError as error:
                    raise _DamageError(f"corrupt ({str(error).rpartition(': ')[2]})") from None
                begun = True
                if out:
                    yield out
                data = b""
                if frame.eof:
                    data = frame.unused_data
                    frame, begun = decompressor.decompressobj(), False
    if begun:
        raise _DamageError("cut short: was the download complete?")
