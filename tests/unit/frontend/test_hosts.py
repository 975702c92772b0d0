"""The page of the GPU hosts."""

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from contracts.errors import GpuUnreachable, InvalidInput
from tests.fakes.backend import FACEWARP, WAV2LIP, FakeBackend, host_view

JSON = {"Accept": "application/json"}


def test_each_host_says_how_it_does(fake: FakeBackend, client: FlaskClient) -> None:
    error = GpuUnreachable("no GPU host answers at https://gpu.example").body()
    later = datetime.now(UTC) + timedelta(seconds=90)
    fake.hosts = [
        host_view(fixed=True, engines=(WAV2LIP, FACEWARP), running=1, capacity=2, device="cuda"),
        host_view(id="far", name="Colab", healthy=False, error=error, next_try_at=later),
        host_view(id="new", name="New", healthy=False, checked_at=None),
    ]
    page = client.get("/hosts").text
    assert "GPU · renders 1 of at most 2" in page
    assert "GPU · PyTorch · fp16 · 2.7 × real time" in page
    assert "No GPU host answers at https://gpu.example." in page
    assert "It is asked again in 1 min" in page
    assert "not asked yet" in page
    assert 'href="/hosts/first/remove"' not in page
    assert 'href="/hosts/far/remove"' in page


@pytest.mark.parametrize(
    ("sent", "url"),
    [
        ({"connection": "lipsync://secret@gpu.example:444"}, "https://gpu.example:444"),
        ({"url": "https://gpu.example", "token": "secret"}, "https://gpu.example"),
    ],
)
def test_a_host_is_added_and_its_token_never_shown(
    fake: FakeBackend, client: FlaskClient, token: str, sent: dict[str, str], url: str
) -> None:
    answer = client.post("/hosts", data={"csrf_token": token, "name": " Mine ", **sent})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/hosts#host-0")
    assert (fake.hosts[0].name, fake.hosts[0].url) == ("Mine", url)
    assert fake.new_hosts[0].token.get_secret_value() == sent.get("token", "")
    assert "secret" not in client.get("/hosts").text


def test_a_host_that_can_not_be_added_is_said_beside_its_field(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    for sent in ({}, {"connection": "nonsense secret"}, {"url": "x", "connection": "secret"}):
        data = {"csrf_token": token, "name": "Mine", **sent}
        page = client.post("/hosts", data=data)
        assert page.status_code == 422
        assert "It looks like lipsync://token@host" in page.text or "Paste its" in page.text
        assert 'value="Mine"' in page.text
        assert "secret" not in page.text
        assert client.post("/hosts", data=data, headers=JSON).json["field"] == "connection"
    assert fake.hosts == []


@pytest.mark.parametrize(
    "address",
    [
        "lipsync://secret@gpu.example",
        "https://u:secret@gpu.example",
        "https://gpu.example/?t=secret",
    ],
)
def test_a_secret_in_an_address_is_not_shown_again(
    fake: FakeBackend, client: FlaskClient, token: str, address: str
) -> None:
    fake.refuse = InvalidInput("this is no address of a GPU host", field="url")
    page = client.post("/hosts", data={"csrf_token": token, "url": address})
    assert page.status_code == 422
    assert "secret" not in page.text


def test_a_host_is_removed(fake: FakeBackend, client: FlaskClient, token: str) -> None:
    fake.hosts = [host_view(id="far", name="Colab")]
    assert "Colab gets no more work" in client.get("/hosts/far/remove").text
    data = {"csrf_token": token}
    for _ in range(2):
        answer = client.post("/hosts/far/remove", data=data)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/hosts")
    assert fake.hosts == []
    assert client.get("/hosts/far/remove").status_code == 404
    assert client.post("/hosts", data={}).status_code == 400
