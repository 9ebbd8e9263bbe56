"""What handlers answer with: JSON, or an error in the platform's form."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


class ApiError(Exception):
    """An answer of 4xx or 5xx. code: a word for programs."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> Response:
        """The answer."""
        return as_json({"code": self.code, "message": self.message}, self.status)


def as_json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(json.dumps(content), status, headers, "application/json")


def bad(message: str) -> ApiError:
    """The request is wrong."""
    return ApiError(400, "InvalidRequest", message)


def missing(kind: str, name: str) -> ApiError:
    """There is no such resource."""
    return ApiError(404, "ResourceNotFound", f'{kind} "{name}" not found')


def conflict(kind: str, name: str, why: str = "already exists") -> ApiError:
    """There is one of that name."""
    return ApiError(409, "ResourceConflict", f'{kind} "{name}" {why}')
