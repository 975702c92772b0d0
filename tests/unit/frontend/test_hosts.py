"""The page of the GPU hosts."""

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from contracts.errors import GpuUnreachable, InvalidInput, NgrokRefused, TunnelFailed
from contracts.hosts import FoundGpuHost, FoundGpuHosts, HostUsage
from contracts.versions import API_VERSION
from tests.fakes.backend import FACEWARP, PLAIN_HOST, WAV2LIP, FakeBackend, host_view

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


USAGE = HostUsage(
    month="2026-01", requests=1412, sent_bytes=1, received_bytes=38_400_000, questions_today=212
)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "https://name.ngrok-free.app",
            "1,412 requests and 38 MB received this month; ngrok&#39;s free plan allows 20,000",
        ),
        ("https://gpu.example", "1,412 requests and 38 MB received this month<"),
        ("http://127.0.0.1:9000", ""),
    ],
)
def test_the_card_says_what_has_passed_where_it_may_cost_something(
    fake: FakeBackend, client: FlaskClient, url: str, said: str
) -> None:
    fake.hosts = [host_view(url=url, usage=USAGE)]
    page = client.get("/hosts").text
    assert said in page if said else "1,412" not in page


def test_a_host_that_is_asked_seldom_says_so(fake: FakeBackend, client: FlaskClient) -> None:
    fake.hosts = [host_view(url="https://gpu.example", usage=USAGE, asked_seldom=True)]
    assert "Asked 212 of at most 300 times today" in client.get("/hosts").text
    fake.hosts = [host_view(url="https://gpu.example", usage=USAGE)]
    assert "of at most 300" not in client.get("/hosts").text


def test_a_plain_host_says_what_it_can_not_do(fake: FakeBackend, client: FlaskClient) -> None:
    fake.hosts = [host_view(**PLAIN_HOST)]
    page = client.get("/hosts").text
    assert "no progress, nothing to watch while it renders, no options, no queue" in page
    assert "ready" in page
    assert "Speaks with photos" not in page


def test_versions_are_named_and_so_is_one_that_differs(
    fake: FakeBackend, client: FlaskClient
) -> None:
    fake.hosts = [host_view(api=str(API_VERSION), version="0.1.0")]
    page = client.get("/hosts").text
    assert "version 0.1.0" in page
    assert "interface" not in page
    fake.hosts = [host_view(api="1.0", version="0.0.9")]
    assert f"version 0.0.9 (interface 1.0, the backend&#39;s {API_VERSION})" in (
        client.get("/hosts").text
    )


def test_a_tunnel_that_answers_instead_is_told_with_its_code(
    fake: FakeBackend, client: FlaskClient
) -> None:
    error = TunnelFailed("its endpoint is offline (ERR_NGROK_3200)", hint="start it").body()
    fake.hosts = [host_view(healthy=False, error=error)]
    page = client.get("/hosts").text
    assert "only its tunnel answers" in page
    assert "Its endpoint is offline (ERR_NGROK_3200). Start it." in page


def test_a_host_that_is_being_stopped_says_so(fake: FakeBackend, client: FlaskClient) -> None:
    fake.hosts = [host_view(draining=True)]
    assert "is being stopped, and takes no new videos" in client.get("/hosts").text


def test_hosts_of_the_ngrok_account_are_offered_and_added_with_their_token(
    fake: FakeBackend, client: FlaskClient, token: str
) -> None:
    page = client.get("/hosts").text
    assert "Found in your ngrok account" not in page
    assert "BACKEND_NGROK_API_KEY" in page
    url = "https://name.ngrok-free.app"
    found = FoundGpuHost(url=url, device="cuda", engines_ready=("wav2lip",), version="0.1.0")
    fake.found = FoundGpuHosts(configured=True, hosts=(found,))
    page = client.get("/hosts").text
    assert "GPU · wav2lip ready · version 0.1.0" in page
    assert f'name="url" value="{url}"' in page
    answer = client.post("/hosts", data={"csrf_token": token, "url": url, "token": "secret"})
    assert answer.status_code == 303
    assert fake.new_hosts[0].url == url
    assert fake.new_hosts[0].token.get_secret_value() == "secret"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (FoundGpuHosts(configured=True), "No other GPU host answers"),
        (FoundGpuHosts(configured=True, looking=True), "Looking…"),
        (NgrokRefused("the key is wrong"), "The key is wrong. Make an API key"),
    ],
)
def test_why_nothing_is_found_is_said(
    fake: FakeBackend, client: FlaskClient, found: FoundGpuHosts, said: str
) -> None:
    fake.found = found
    fake.hosts = [host_view()]
    page = client.get("/hosts").text
    assert said in page
    assert "This computer" in page


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
