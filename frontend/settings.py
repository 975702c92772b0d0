"""FRONTEND_*: how the pages are served and where the backend is."""

import secrets
import tempfile
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.secret_files import secrets_dir

_REPOSITORY = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Settings of the frontend; each is read from FRONTEND_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="FRONTEND_",
        env_file=".env",
        secrets_dir=secrets_dir(),
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback lets others on the network in."""
    port: int = Field(default=5000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    backend_url: str = "http://127.0.0.1:8000"
    """Where the backend is."""
    backend_token: SecretStr = SecretStr("")
    """The backend's BACKEND_TOKEN, where it has one."""
    allowed_hosts: str = ""
    """Host names besides localhost under which browsers may reach the pages, comma-separated."""
    data_dir: Path = Path(".data/frontend")
    """Where the secret key is kept."""
    secret_key: SecretStr = SecretStr("")
    """Signs session cookies; empty makes one and keeps it in the data directory."""
    samples_dir: Path = _REPOSITORY / "samples"
    """Holds portrait.jpg for "Try the sample"."""
    threads: int = Field(default=64, ge=4, le=200)
    """Requests served at the same time. The page of a running job holds two for as long as it is
    seen: one for its events, one for its video."""

    @property
    def trusted_hosts(self) -> list[str]:
        """Names under which the pages answer; a foreign one could be a page that was rebound."""
        further = [name.strip() for name in self.allowed_hosts.split(",") if name.strip()]
        return ["localhost", "127.0.0.1", "[::1]", self.host, *further]

    def session_key(self) -> str:
        """The secret key, made and kept when none is set."""
        if key := self.secret_key.get_secret_value():
            return key
        path = self.data_dir / "secret_key"
        if path.is_file() and (key := path.read_text(encoding="ascii").strip()):
            return key
        self.data_dir.mkdir(parents=True, exist_ok=True)
        # For its owner alone, and moved there whole: an empty key would end every later start.
        with tempfile.NamedTemporaryFile("w", dir=self.data_dir, delete=False) as file:
            file.write(key := secrets.token_hex(32))
        Path(file.name).replace(path)
        return key
