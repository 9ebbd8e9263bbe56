"""Exceptions of the SDK become evalx's own, without anything secret in them.

leptonai's exceptions print the token (`WorkspaceError`) or hold it (`exc.response.request.headers`), so none is ever shown or chained.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from evalx.errors import AuthError, EvalxError, TransientError

T = TypeVar("T")

MAX_TEXT = 400

LOGIN = "lep login -c <workspace id>:<token>, or set LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN"
RIGHTS = "is it a token of this workspace, and of an account that may use it? lep workspace status; lep login -c <id>:<token>"
ID_NOT_NAME = "the workspace's id, not its name, belongs in: lep login -c <workspace id>:<token>"

QUOTA = "the quota is used up: fewer at a time (execution.max_endpoints, execution.max_tasks), or ask for more; lep workspace status"

_PASSING = {408, 425, 429}


class NoCredentials(AuthError):
    """There is neither a login nor a token in the environment."""


class NotFound(EvalxError):
    """There is no such resource (404)."""


class Conflict(EvalxError):
    """There is one already (409)."""


class Refused(EvalxError):
    """The platform, or the SDK before it, will never accept this."""


def translated(what: str, call: Callable[[], T], *secrets: str) -> T:
    """The result of a call of the SDK. what: what is being done, for the message. secrets: never shown.

    Raises NotFound, Conflict, Refused, AuthError and TransientError; exceptions of evalx pass.
    """
    try:
        return call()
    except EvalxError:
        raise
    except Exception as error:  # noqa: BLE001  every exception of the SDK is translated
        translation = translate(what, error, *secrets)
    # Out here, so that the SDK's exception, which holds the token, is not even its context.
    raise translation


def translate(what: str, error: Exception, *secrets: str) -> EvalxError:
    """The evalx error for one of the SDK's."""
    import requests

    kind = type(error).__name__
    if kind == "WorkspaceNotFoundError":
        return AuthError(f"{what}: the workspace was not found", ID_NOT_NAME)
    if kind == "WorkspaceConfigurationError":
        return NoCredentials(f"{what}: there are no credentials of a Lepton workspace", LOGIN)
    if kind == "WorkspaceUnauthorizedError":
        return AuthError(f"{what}: the workspace does not accept the token (HTTP 401); it may have expired", LOGIN)
    if kind == "WorkspaceForbiddenError":
        return AuthError(f"{what}: the token is not allowed to do this (HTTP 403)", RIGHTS)
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None) or getattr(error, "status_code", None) or _status_in(error)
    if isinstance(status, int) and status >= 400:
        text = _body(response) if response is not None else ""
        asked = getattr(response, "request", None)
        if status == 409 and (kind == "LogAPIError" or getattr(asked, "method", "") == "GET"):  # reading takes no name from anybody
            return TransientError(f"{what}: HTTP 409: {_clean(text, secrets)}", _retry_after(error, response))
        return of_status(what, status, _clean(text, secrets), _retry_after(error, response))
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema | requests.exceptions.InvalidSchema):
        return Refused(f"{what}: the workspace's URL is not valid", LOGIN)
    if isinstance(error, requests.RequestException | OSError | json.JSONDecodeError):
        return TransientError(f"{what}: {_network(error)}")
    if isinstance(error, ValueError):
        return Refused(f"{what}: {_clean(validation(error), secrets)}")
    return TransientError(f"{what}: the answer cannot be understood ({kind})")


def of_status(what: str, status: int, text: str, retry_after: float | None = None) -> EvalxError:
    """The evalx error for an HTTP status."""
    said = f"{what}: HTTP {status}" + (f": {text}" if text else "")
    if status in (402, 403) and re.search(r"quota|limit", text, re.IGNORECASE):
        return Refused(said, QUOTA)
    if status in (401, 403):
        return AuthError(said, LOGIN if status == 401 else RIGHTS)
    if status in _PASSING or status >= 500:
        return TransientError(said, retry_after)
    hint = QUOTA if "quota" in text.lower() else None
    return {404: NotFound, 409: Conflict}.get(status, Refused)(said, hint)


def validation(error: ValueError) -> str:
    """A pydantic error without the values it complains of; others as they are."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return str(error)
    found = errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in found)


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds of a Retry-After header, in either of its forms."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+\s*", value):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(date.timestamp() - (time.time() if now is None else now), 0.0)


def _retry_after(error: Exception, response: Any) -> float | None:
    if response is not None:
        return retry_after(response.headers.get("Retry-After"))
    found = getattr(error, "retry_after", None)
    return found if isinstance(found, float) else None


def _status_in(error: Exception) -> int | None:
    """The status in the text of a live log's RuntimeError, which has nothing else."""
    found = re.match(r"API call failed with status code (\d{3})\b", str(error)) if type(error) is RuntimeError else None
    return int(found[1]) if found else None


def _body(response: Any) -> str:
    """The message of an error's body."""
    try:
        content = response.json()
    except ValueError:
        return str(response.text)
    message = content.get("message") if isinstance(content, dict) else None
    return str(message or response.text)


def _clean(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return " ".join(text.split())[:MAX_TEXT]


def _network(error: Exception) -> str:
    kind = type(error).__name__
    if kind == "ConnectionError" and (host := re.search(r"Failed to resolve '([^']+)'", str(error))):
        return f"the name {host[1]} cannot be resolved"
    words = {
        "ConnectTimeout": "no connection in time",
        "ReadTimeout": "no answer in time",
        "ConnectionError": "the connection failed",
        "ChunkedEncodingError": "the answer was cut short",
        "JSONDecodeError": "the answer was cut short, or is no JSON",
        "SSLError": "the server's certificate was not accepted",
    }
    return words.get(kind, kind)
