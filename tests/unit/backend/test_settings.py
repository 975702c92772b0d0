import pytest
from pydantic import ValidationError

from backend.settings import Settings
from contracts.hosts import is_loopback
from contracts.settings_faults import settings_faults


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    assert Settings(_env_file=None, host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "studio.example"])  # noqa: S104
def test_beyond_loopback_a_token_is_mandatory(host):
    with pytest.raises(ValidationError, match="set BACKEND_TOKEN"):
        Settings(_env_file=None, host=host)
    assert Settings(_env_file=None, host=host, token="a secret").host == host


def test_settings_come_from_the_environment_and_hide_secrets(monkeypatch):
    monkeypatch.setenv("BACKEND_PORT", "8123")
    monkeypatch.setenv("BACKEND_GPU_TOKEN", "a canary")
    monkeypatch.setenv("BACKEND_DATABASE_URL", "postgresql://me:canary@db/jobs")
    settings = Settings(_env_file=None)
    assert settings.port == 8123
    assert settings.gpu_token.get_secret_value() == "a canary"
    assert "canary" not in repr(settings)


def test_the_job_database_lies_in_the_data_directory_unless_named(tmp_path):
    ours = Settings(_env_file=None, data_dir=tmp_path)
    assert ours.sqlalchemy_url == f"sqlite:///{tmp_path.as_posix()}/jobs.sqlite3"
    theirs = Settings(_env_file=None, database_url="postgresql://db/jobs")
    assert theirs.sqlalchemy_url == "postgresql://db/jobs"


@pytest.mark.parametrize(
    "url", ["canary", "mysql://me:canary@db/jobs", "postgresql://me:canary@:x"]
)
def test_what_names_no_database_of_ours_is_refused_without_telling_it(url):
    with pytest.raises(ValidationError) as refusal:
        Settings(_env_file=None, database_url=url)
    assert "postgresql://user:password@host/name" in settings_faults(refusal.value, "BACKEND_")
    assert "canary" not in settings_faults(refusal.value, "BACKEND_")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("https://GPU.example/", "https://gpu.example"), ("", ""), ("http://gpu:9000", None)],
)
def test_the_gpu_hosts_address_is_kept_in_one_form(given, kept):
    assert Settings(_env_file=None, gpu_url=given).gpu_url == (given if kept is None else kept)


def test_a_gpu_hosts_address_that_holds_a_secret_is_refused_without_telling_it():
    with pytest.raises(ValidationError) as refusal:
        Settings(_env_file=None, gpu_url="https://me:canary@gpu.example")
    assert "canary" not in settings_faults(refusal.value, "BACKEND_")
    assert "more than a host" in settings_faults(refusal.value, "BACKEND_")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)],
)
def test_how_long_results_stay_is_told_in_seconds_or_with_a_unit(text, seconds):
    assert Settings(_env_file=None, result_ttl=text).result_ttl_seconds == seconds


@pytest.mark.parametrize("text", ["", "d", "-1", "7 days", "1.5h", "7d7d"])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(ValidationError, match="result_ttl"):
        Settings(_env_file=None, result_ttl=text)


def test_ngroks_api_key_is_read_under_its_own_name_too(monkeypatch, tmp_path):
    (tmp_path / "env").write_text("NGROK_API_KEY=canary-a\n")
    assert Settings(_env_file=tmp_path / "env").ngrok_api_key.get_secret_value() == "canary-a"
    monkeypatch.setenv("NGROK_API_KEY", "canary-b")
    assert Settings(_env_file=None).ngrok_api_key.get_secret_value() == "canary-b"
    monkeypatch.setenv("BACKEND_NGROK_API_KEY", "canary-c")
    settings = Settings(_env_file=None)
    assert settings.ngrok_api_key.get_secret_value() == "canary-c"
    assert "canary" not in repr(settings)
    named = Settings(_env_file=None, ngrok_api_key="canary-d")
    assert named.ngrok_api_key.get_secret_value() == "canary-d"
