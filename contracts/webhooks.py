"""What a webhook carries, and how it is signed."""

import hashlib
import hmac
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from contracts.jobs import JobView

SIGNATURE_HEADER: Final = "LipSync-Signature"
DELIVERY_HEADER: Final = "LipSync-Delivery"
"""Names the delivery; a repeat of one has the same."""


class WebhookEvent(BaseModel):
    """What is posted to a job's `callback_url` when it has ended."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: Literal["job.succeeded", "job.failed", "job.cancelled"]
    job: JobView
    """The job as it was then."""


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The value of the signature's header.

    Args:
        secret: BACKEND_WEBHOOK_SECRET.
        timestamp: When it is sent, in seconds since 1970.
        body: What is sent.
    """
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={signed.hexdigest()}"
