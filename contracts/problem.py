"""How an error looks on the wire."""

from pydantic import BaseModel, ConfigDict

PROBLEM_JSON = "application/problem+json"


class ErrorBody(BaseModel):
    """An error on the wire: RFC 9457 problem details with what a person needs to mend it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: str = "about:blank"
    """URI reference of the error's entry in the catalogue."""
    title: str
    """What kind of error this is; the same for every occurrence."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong this time."""
    code: str
    """Stable name, as in the catalogue."""
    hint: str = ""
    """What to do about it."""
    field: str = ""
    """The field of the request that is at fault, such as `image` or an option's name."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    request_id: str = ""
    """Names the request in the service's log."""
