"""Sending stored files: whole or in part, verified, with the headers by which clients ask for less."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Request, Response
from fastapi.responses import StreamingResponse

from app.artifacts.ranges import Unsatisfiable, matches, parse_range
from app.core.errors import ChecksumMismatch, NotFound, RangeNotSatisfiable, Unavailable
from app.core.problems import responses
from app.core.storage import (
    ArtifactStore,
    Blob,
    BlobMissingError,
    ChecksumMismatchError,
    StorageError,
    iter_part_verified,
    iter_verified,
    read_verified,
)

VERIFIED_BELOW = 16 << 20
"""Content up to this size is checked before its first byte is sent; larger content before its last."""
FOREVER = "private, max-age=86400, immutable"
ASK_AGAIN = "private, no-cache"


def answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of a route that sends stored files.

    Args:
        media_types: that the files can have, such as ``image/png``, or ``*/*``.
    """
    binary = {"content": {one: {"schema": {"type": "string", "format": "binary"}} for one in media_types}}
    return {
        200: {"description": "The whole file.", **binary},
        206: {"description": "The range asked for.", **binary},
        304: {"description": "The client has it already."},
        **responses(NotFound, RangeNotSatisfiable, ChecksumMismatch, Unavailable),
    }


async def get_store(request: Request) -> ArtifactStore:
    """Where contents live."""
    return cast(ArtifactStore, request.app.state.store)


StoreDep = Annotated[ArtifactStore, Depends(get_store)]


class Conditions:
    """The headers by which a client asks for less than the whole file."""

    def __init__(
        self,
        request: Request,
        range: Annotated[str | None, Header(description="One range of bytes.")] = None,
        if_range: Annotated[str | None, Header(description="The range counts only for this ETag.")] = None,
        if_none_match: Annotated[str | None, Header(description="Send nothing for these ETags.")] = None,
    ) -> None:
        self.head = request.method == "HEAD"
        self.range = range
        self.if_range = if_range
        self.if_none_match = if_none_match

    def span(self, tag: str, size: int) -> tuple[int, int] | None:
        """The range of bytes to send, or ``None`` for all.

        Raises:
            RangeNotSatisfiable: no byte of the file is in the range.
        """
        if self.range is None or self.head or (self.if_range is not None and self.if_range.strip() != tag):
            return None
        try:
            return parse_range(self.range, size)
        except Unsatisfiable as error:
            detail = f"`Range` is {self.range!r}, but the file has {size} bytes: ask for bytes below {size}"
            raise RangeNotSatisfiable(detail, headers={"Content-Range": f"bytes */{size}"}) from error


ConditionsDep = Annotated[Conditions, Depends()]


@dataclass(frozen=True)
class Download:
    """A stored file and how it is sent.

    Attributes:
        blob: its content.
        name: the file name that a download gets.
        media_type: such as ``image/png``.
        damaged: what to tell where the content is no longer that of its digest.
    """

    blob: Blob
    name: str
    media_type: str
    damaged: str


def serve(download: Download, store: ArtifactStore, conditions: Conditions, caching: str) -> Response:
    """Answer with a file, or with as little of it as was asked for.

    Args:
        download: the file.
        store: where it is.
        conditions: what was asked for.
        caching: the ``Cache-Control`` header.

    Raises:
        RangeNotSatisfiable: no byte of the file is in the range.
        ChecksumMismatch: the stored bytes are damaged or gone.
        Unavailable: the store cannot be reached.
    """
    blob = download.blob
    tag = f'"{blob.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": caching,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(blob.sha256)).decode()}:",
        "Content-Disposition": f'attachment; filename="{download.name}"',
        "X-Content-Type-Options": "nosniff",
    }
    if conditions.if_none_match is not None and matches(conditions.if_none_match, tag):
        return Response(status_code=304, headers=headers)
    span = conditions.span(tag, blob.size)
    start, end = span or (0, blob.size)
    headers["Content-Length"] = str(end - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
    status = 200 if span is None else 206
    if conditions.head:
        return Response(None, status, headers, download.media_type)
    try:
        return _content(store, blob, span, status, headers, download.media_type)
    except (ChecksumMismatchError, BlobMissingError) as error:
        raise ChecksumMismatch(download.damaged) from error
    except StorageError as error:
        raise Unavailable("the artifact store cannot be reached; try again shortly") from error


def _content(
    store: ArtifactStore,
    blob: Blob,
    span: tuple[int, int] | None,
    status: int,
    headers: dict[str, str],
    media_type: str,
) -> Response:
    if blob.size <= VERIFIED_BELOW:
        data = read_verified(store, blob)
        return Response(data if span is None else data[slice(*span)], status, headers, media_type)
    # A file that has lost its length is refused while a problem document can still be sent.
    if store.head(blob.sha256) != blob:
        raise ChecksumMismatchError(f"sha256:{blob.sha256} does not have {blob.size} bytes")
    chunks = iter_verified(store, blob) if span is None else iter_part_verified(store, blob, *span)
    return StreamingResponse(chunks, status, headers, media_type)
