"""Objects at ``s3://BUCKET/KEY``, through pyarrow, which the package needs anyway.

Credentials, region and endpoint are those of the AWS command line: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``AWS_DEFAULT_REGION``, ``AWS_ENDPOINT_URL`` (for a
server of one's own, such as MinIO), ``~/.aws``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from plmsae.core.errors import InputError, NotFoundError

_SCHEME = "s3://"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def is_remote(location: str | os.PathLike[str]) -> bool:
    """Return whether a location is in an object store."""
    return os.fspath(location).startswith(_SCHEME)


@contextmanager
def clear_errors(location: str) -> Iterator[None]:
    """Turn what the object store says into one line.

    Raises
    ------
    NotFoundError
        If there is no such bucket or object.
    InputError
        If it cannot be reached or refuses.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError("no such object", where=location) from error
    except OSError as error:
        said = " ".join(str(error).split())
        if "NO_SUCH_BUCKET" in said or "NoSuchBucket" in said:
            raise NotFoundError("no such bucket", where=location) from error
        raise InputError(
            f"the object store says: {said}",
            where=location,
            hint="check AWS_ENDPOINT_URL, the region and the credentials",
        ) from error


def split(location: str) -> tuple[str, str]:
    """Return the bucket of a location, and its path with the bucket in front.

    Raises
    ------
    InputError
        If it names no bucket.
    """
    path = location.removeprefix(_SCHEME).strip("/")
    bucket = path.partition("/")[0]
    if not bucket:
        raise InputError("names no bucket", where=location, hint="give s3://BUCKET/KEY")
    return bucket, path


@functools.cache
def filesystem(bucket: str) -> Any:
    """Return pyarrow's file system of a bucket, one for each process."""
    from pyarrow.fs import S3FileSystem, resolve_s3_region

    region = next((os.environ[name] for name in _REGIONS if os.environ.get(name)), None)
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    with clear_errors(f"{_SCHEME}{bucket}"):
        if endpoint is not None:
            # pyarrow reads this variable only where it is given a URI.
            scheme, _, place = endpoint.rpartition("://")
            return S3FileSystem(
                region=region, scheme=scheme or "https", endpoint_override=place.rstrip("/")
            )
        return S3FileSystem(region=region or resolve_s3_region(bucket))


def open_object(location: str) -> IO[bytes]:
    """Open an object to read from any place; errors while reading are `OSError`.

    Raises
    ------
    InputError
        If it is not there or cannot be reached.
    """
    bucket, path = split(location)
    with clear_errors(location):
        opened: IO[bytes] = filesystem(bucket).open_input_file(path)
        return opened
