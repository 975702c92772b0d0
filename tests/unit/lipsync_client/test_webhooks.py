import hashlib
import hmac
import time

import pytest

from lipsync_client import verify_signature

BODY = b'{"type": "job.succeeded"}'


def signed(timestamp: int, secret: str = "s3cret", body: bytes = BODY) -> str:  # noqa: S107
    """As the documentation says, without our own code."""
    text = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()}"


def test_a_webhook_that_was_signed_just_now_is_genuine() -> None:
    assert verify_signature("s3cret", signed(int(time.time())), BODY)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=,v1=",
        "t=1,v1=zz",
        signed(int(time.time()), "other"),
        signed(int(time.time()), body=BODY + b" "),
        signed(int(time.time()) - 301),
        signed(int(time.time()) + 100_000),  # made when tests are collected, long before some run
        signed(int(time.time())).upper(),
        signed(int(time.time())).replace("t=", "t=1"),
        signed(int(time.time())) + ",v0=x",
        "t=١,v1=" + "0" * 64,  # noqa: RUF001 - a digit, but not of ASCII
        "t=1,v1=" + "é" * 64,
    ],
)
def test_any_other_webhook_is_not(header: str | None) -> None:
    assert verify_signature("s3cret", header, BODY) is False


def test_an_older_webhook_is_genuine_for_who_allows_it() -> None:
    header = signed(int(time.time()) - 1000)
    assert verify_signature("s3cret", header, BODY, tolerance_seconds=2000)


def test_without_a_secret_no_webhook_is_genuine() -> None:
    assert verify_signature("", signed(int(time.time()), secret=""), BODY) is False
