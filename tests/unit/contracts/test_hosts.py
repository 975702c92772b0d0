"""How GPU hosts are addressed."""

import pytest

from contracts.errors import InvalidInput
from contracts.hosts import Connection, parse_connection


@pytest.mark.parametrize(
    ("connection", "text"),
    [
        (Connection("https://gpu.example", "a-token_1"), "lipsync://a-token_1@gpu.example"),
        (Connection("https://gpu.example:8443", "t"), "lipsync://t@gpu.example:8443"),
        (Connection("http://localhost:9001", "t"), "lipsync://t@localhost:9001"),
        (Connection("http://[::1]:9001", "t"), "lipsync://t@[::1]:9001"),
        (Connection("https://gpu.example", ""), "lipsync://gpu.example"),
        (Connection("https://gpu.example", "a/b@c d"), "lipsync://a%2Fb%40c%20d@gpu.example"),
    ],
)
def test_a_connection_string_is_read_as_it_is_written(connection: Connection, text: str) -> None:
    assert connection.as_text() == text
    assert parse_connection(text) == connection


@pytest.mark.parametrize("url", ["https://HOST.example/", "https://host.example:443"])
def test_an_address_is_written_in_its_one_form(url: str) -> None:
    assert Connection(url, "t").as_text() == "lipsync://t@host.example"


@pytest.mark.parametrize(
    "url", ["http://gpu.example:9000", "https://localhost:9000", "https://gpu.example/path", "gpu"]
)
def test_what_a_connection_string_cannot_say_is_refused_without_the_token(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Connection(url, "hidden").as_text()
    assert "hidden" not in refused.value.detail + refused.value.hint
