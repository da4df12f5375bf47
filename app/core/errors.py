"""What can go wrong with a request: one class for each problem, one table of their codes.

An error becomes a problem document (RFC 9457) in :mod:`app.core.problems`. The class docstring is
its public explanation, served under ``/problems/<code>``.
"""

# ruff: noqa: N818 - named by the problem's code, as HTTP names its answers
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ddcore.spec import Problem


class ServiceError(Exception):
    """Base of every error that a request can end in.

    ``detail`` is for the user: it names the value at fault and a way out.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self, detail: str, *, extra: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.detail = detail
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        super().__init__(detail)


class MalformedJson(ServiceError):
    """The request's body is not JSON."""

    status, code, title = 400, "malformed_json", "The body is not JSON"


class UnknownParameter(ServiceError):
    """The address has a query parameter that this resource does not have."""

    status, code, title = 400, "unknown_parameter", "Unknown query parameter"


class InvalidParameter(ServiceError):
    """A query parameter, header or part of the path has a value that is not allowed."""

    status, code, title = 400, "invalid_parameter", "Invalid parameter"


class InvalidCursor(ServiceError):
    """A cursor was changed, or is used with other filters than the page it came from."""

    status, code, title = 400, "invalid_cursor", "Invalid cursor"


class Unauthenticated(ServiceError):
    """The request carries no API key, or one that is wrong, expired or revoked."""

    status, code, title = 401, "unauthenticated", "No valid API key"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="ddservice"'})


class Forbidden(ServiceError):
    """The API key is valid but does not have the scope that the request needs."""

    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(ServiceError):
    """There is nothing at this address, or it belongs to somebody else."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(ServiceError):
    """The resource exists but does not have this HTTP method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class IllegalTransition(ServiceError):
    """The job is in a state in which this cannot be done; ``allowed`` lists what can."""

    status, code, title = 409, "illegal_transition", "Not possible in this state"


class LastAdminKey(ServiceError):
    """Without this key nobody could make or revoke keys any more."""

    status, code, title = 409, "last_admin_key", "The last admin key"


class DatasetInUse(ServiceError):
    """The set cannot be deleted or changed while jobs need it; ``jobs`` names some of them."""

    status, code, title = 409, "dataset_in_use", "The set is in use"


class WebhookDisabled(ServiceError):
    """The webhook is told nothing at present, so no message can be sent to it."""

    status, code, title = 409, "webhook_disabled", "The webhook is disabled"


class UploadConflict(ServiceError):
    """The bytes that were sent do not follow those that are there; ``received`` says where to go on."""

    status, code, title = 409, "upload_conflict", "These bytes do not come next"


class Gone(ServiceError):
    """What the first request with this Idempotency-Key made was deleted since."""

    status, code, title = 410, "gone", "Deleted since"


class PreconditionFailed(ServiceError):
    """The resource has changed since the version that ``If-Match`` names."""

    status, code, title = 412, "precondition_failed", "Changed in the meantime"


class BodyTooLarge(ServiceError):
    """The request's body is larger than the service accepts."""

    status, code, title = 413, "body_too_large", "Body too large"


class DatasetTooLarge(ServiceError):
    """An upload is larger than the service takes, or than what is left of the tenant's quota."""

    status, code, title = 413, "dataset_too_large", "The images need too much room"


class UnsupportedMediaType(ServiceError):
    """The request's body is not declared as ``application/json``."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class RangeNotSatisfiable(ServiceError):
    """The requested range lies beyond the end of the file."""

    status, code, title = 416, "range_not_satisfiable", "Range not satisfiable"


class WrongHost(ServiceError):
    """The request names a host that this service does not answer for (``DD_ALLOWED_HOSTS``)."""

    status, code, title = 421, "wrong_host", "Wrong host"


class Invalid(ServiceError):
    """The body is JSON but not what is asked for; ``errors`` lists every fault with a JSON pointer to it."""

    status, code, title = 422, "invalid", "The request is not valid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = problems[0].detail
        rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        faults = [{"pointer": p.pointer, "code": p.code, "detail": p.detail} for p in problems]
        super().__init__(f"{first}{rest}", extra={"errors": faults})


class IdempotencyMismatch(ServiceError):
    """The Idempotency-Key was used before with another request."""

    status, code, title = 422, "idempotency_mismatch", "Idempotency-Key reused"


class QuotaExceeded(ServiceError):
    """The tenant has as many unfinished jobs, or as much work in them, as it may have, or has used up its minutes."""

    status, code, title = 429, "quota_exceeded", "The quota is used up"


class PreconditionRequired(ServiceError):
    """The service wants to know which version is to be changed: send ``If-Match`` with the ETag."""

    status, code, title = 428, "precondition_required", "If-Match is required"


class RateLimited(ServiceError):
    """Too many requests in a short time, or too many streams at once; ``Retry-After`` says how long to wait."""

    status, code, title = 429, "rate_limited", "Too many requests"


class RequestTimeout(ServiceError):
    """The body of the request came too slowly, or stopped coming."""

    status, code, title = 408, "request_timeout", "The body came too slowly"


class InternalError(ServiceError):
    """The service failed; the request's id finds the reason in its log."""

    status, code, title = 500, "internal", "The service failed"


class ChecksumMismatch(ServiceError):
    """A stored file is damaged: its content is no longer that of its checksum."""

    status, code, title = 500, "checksum_mismatch", "The stored file is damaged"


class NoSpace(ServiceError):
    """The service's disk is full. Nothing of the request was kept."""

    status, code, title = 507, "no_space", "The disk is full"


class Unavailable(ServiceError):
    """The database cannot be reached or is busy; try again shortly."""

    status, code, title = 503, "unavailable", "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


CODES: Mapping[str, type[ServiceError]] = {
    error.code: error for error in sorted(ServiceError.__subclasses__(), key=lambda error: (error.status, error.code))
}
"""Every code that a problem document can carry."""
