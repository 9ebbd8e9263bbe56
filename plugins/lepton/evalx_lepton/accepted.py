"""What leptonai's own types say of a body before it is sent: mistakes, and fields that the SDK would drop without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalx_lepton.installation import spare_client
from evalx_lepton.problems import Refused, validation


def problems_of(kind: str, body: Mapping[str, Any]) -> list[str]:
    """What the SDK's own types say of an `endpoint` or `job` body: mistakes, and fields that it would drop without a word."""
    spare_client()
    from leptonai.api.v2.deployment import normalize_endpoint_authentication_payload
    from leptonai.api.v2.job_validation import validate_job_create
    from leptonai.api.v2.types.deployment import LeptonDeployment
    from leptonai.api.v2.types.job import LeptonJob

    try:
        model: Any = LeptonDeployment(**body) if kind == "endpoint" else LeptonJob(**body)
        if kind == "endpoint":
            normalize_endpoint_authentication_payload(model.model_dump(exclude_none=True, by_alias=True))
        else:
            validate_job_create(model)
    except ValueError as error:
        return [validation(error)]
    return [f"{key}: leptonai knows no such field" for key in unknown(body, model.model_dump(by_alias=True, mode="json"))]


def problems_on_new_api(body: Mapping[str, Any]) -> list[str]:
    """What an endpoint's body holds that the `/endpoints` routes cannot express."""
    spare_client()
    from leptonai.api.v2.translation import legacy_to_http_endpoint

    try:
        legacy_to_http_endpoint(dict(body))
    except ValueError as error:
        return [str(error)]
    return []


def unknown(given: Any, kept: Any, at: str = "") -> Iterator[str]:
    """Dotted keys of `given` that are not in `kept`; what is None counts as not given."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        for key, value in given.items():
            here = f"{at}.{key}" if at else str(key)
            if value is None:
                continue
            if key not in kept:
                yield here
            else:
                yield from unknown(value, kept[key], here)
    elif isinstance(given, list) and isinstance(kept, list):
        for index, (one, other) in enumerate(zip(given, kept, strict=False)):
            yield from unknown(one, other, f"{at}[{index}]")


def refuse(kind: str, body: Mapping[str, Any]) -> None:
    """Raises Refused if the SDK would change or refuse the body."""
    if problems := problems_of(kind, body):
        raise Refused("; ".join(problems))
