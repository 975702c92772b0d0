import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from frontend.app import create_app
from frontend.settings import Settings
from tests.fakes.backend import FakeBackend, serve


@pytest.fixture
def fake() -> Iterator[FakeBackend]:
    with serve(FakeBackend()) as backend:
        yield backend


@pytest.fixture
def app(fake: FakeBackend, tmp_path: Path) -> Flask:
    return create_app(Settings(_env_file=None, backend_url=fake.url, data_dir=tmp_path))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def token(client: FlaskClient) -> str:
    """The token of the page's forms; the client keeps the cookie that belongs to it."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert found
    return found[1]
