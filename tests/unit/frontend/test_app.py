"""Headers, hosts and error pages that every address shares."""

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from frontend.app import create_app
from frontend.settings import Settings
from tests.fakes.backend import FakeBackend, job_view


def test_health_needs_no_backend(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, backend_url="http://127.0.0.1:9", data_dir=tmp_path)
    answer = create_app(settings).test_client().get("/health")
    assert answer.json == {"status": "ok"}


@pytest.mark.parametrize("path", ["/", "/?voice=upload", "/jobs/job", "/nowhere"])
def test_pages_load_nothing_from_elsewhere(
    fake: FakeBackend, client: FlaskClient, path: str
) -> None:
    fake.jobs["job"] = fake.next_job
    page = client.get(path)
    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', page.text)
    assert addresses
    assert [address for address in addresses if not address.startswith(("/", "#"))] == []
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_everything_a_page_loads_is_there(client: FlaskClient) -> None:
    page = client.get("/")
    loaded = re.findall(r'<(?:script[^>]* src|link[^>]* href)="([^"]*)"', page.text)
    assert len(loaded) >= 3
    for address in loaded:
        with client.get(address) as answer:
            assert answer.status_code == 200, address


def test_the_session_cookie_is_out_of_reach_for_scripts_and_other_sites(
    client: FlaskClient,
) -> None:
    cookie = client.get("/").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_foreign_host_name_is_refused(client: FlaskClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:5000"}).status_code == 200


def test_further_host_names_can_be_allowed(fake: FakeBackend, tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        backend_url=fake.url,
        data_dir=tmp_path,
        allowed_hosts="studio.example, other.example",
    )
    client = create_app(settings).test_client()
    assert client.get("/", headers={"Host": "studio.example"}).status_code == 200


def test_nothing_that_can_change_is_kept_by_caches(fake: FakeBackend, client: FlaskClient) -> None:
    fake.jobs["job"] = fake.next_job
    for path in ("/", "/workplace", "/jobs/job", "/jobs/job.json", "/jobs/none.json", "/nowhere"):
        assert client.get(path).headers["Cache-Control"] == "no-store", path
    with client.get("/static/icon.svg") as static:
        assert "no-store" not in static.headers["Cache-Control"]


def test_an_error_keeps_the_id_under_which_the_backend_logged_it(
    fake: FakeBackend, client: FlaskClient
) -> None:
    answer = client.get("/jobs/none.json")
    assert answer.json["request_id"] == "request-of-the-backend"


def test_an_unknown_address_leads_back_to_the_studio(client: FlaskClient) -> None:
    page = client.get("/nowhere")
    assert page.status_code == 404
    assert "There is no page here" in page.text
    assert 'href="/"' in page.text


def test_an_address_for_forms_says_so_when_opened(client: FlaskClient) -> None:
    page = client.get("/make/text")
    assert page.status_code == 405
    assert "use the form" in page.text


def test_an_error_for_a_script_is_problem_details(client: FlaskClient) -> None:
    answer = client.get("/jobs/none.json")
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"
    assert answer.json["code"] == "JOB_NOT_FOUND"
    assert answer.json["hint"]


def test_a_backend_that_is_not_there_is_said_in_plain_words(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, backend_url="http://127.0.0.1:9", data_dir=tmp_path)
    client = create_app(settings).test_client()
    studio = client.get("/")
    assert studio.status_code == 200
    assert "The backend does not answer" in studio.text
    assert "Make the video" in studio.text
    job = client.get("/jobs/job")
    assert job.status_code == 503
    assert "Start the backend" in job.text


def test_the_backend_gets_its_token(fake: FakeBackend, tmp_path: Path) -> None:
    fake.token = "right"
    for token, words in (("right", "ready"), ("wrong", "The token is missing or wrong")):
        settings = Settings(
            _env_file=None, backend_url=fake.url, data_dir=tmp_path, backend_token=token
        )
        assert words in create_app(settings).test_client().get("/").text


def test_what_people_wrote_is_shown_as_text(fake: FakeBackend, client: FlaskClient) -> None:
    fake.jobs["job"] = job_view(
        fake.next_job.state, fake.next_job.stage, voice="<script>x</script>"
    )
    assert "<script>x" not in client.get("/jobs/job").text
