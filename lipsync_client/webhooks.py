"""For those who receive webhooks: whether one is the backend's."""

import hmac
import re
import time

from contracts.webhooks import sign

_SIGNATURE = re.compile(r"t=([0-9]{1,15}),v1=[0-9a-f]{64}")


def verify_signature(
    secret: str, header: str | None, body: bytes, tolerance_seconds: float = 300.0
) -> bool:
    """Whether a webhook was signed with the secret, just now.

    Example:
        ```python
        @app.post("/lipsync-done")
        def done():
            if not verify_signature(
                SECRET, request.headers.get("LipSync-Signature"), request.data
            ):
                abort(400)
            event = WebhookEvent.model_validate_json(request.data)
        ```

    Args:
        secret: The backend's BACKEND_WEBHOOK_SECRET.
        header: `LipSync-Signature` of the request; None when it has none.
        body: The request's body, byte for byte as it came.
        tolerance_seconds: How old it may be; an older one may be a repeat by somebody else.
    """
    match = _SIGNATURE.fullmatch(header or "")
    if match is None or not secret:  # everybody can sign with none
        return False
    timestamp = int(match[1])
    right = hmac.compare_digest(match[0], sign(secret, timestamp, body))
    return right and abs(time.time() - timestamp) <= tolerance_seconds
