"""The backend's settings, from BACKEND_* in the environment or in a .env file."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.hosts import is_loopback
from contracts.limits import MAX_UPLOAD_BYTES


class Settings(BaseSettings):
    """What an operator may set."""

    model_config = SettingsConfigDict(
        env_prefix="BACKEND_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs BACKEND_TOKEN."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on."""
    token: SecretStr = SecretStr("")
    """What callers send as `Authorization: Bearer ...`; empty asks nobody."""
    allowed_hosts: str = ""
    """Host names besides localhost under which the backend may be addressed, comma-separated."""
    allowed_origins: str = ""
    """Web origins besides its own whose pages may call the backend, comma-separated, such as
    https://studio.example behind a proxy that rewrites Host."""
    gpu_url: str = "http://127.0.0.1:9000"
    """Where the GPU host answers: this machine, a cloud machine, or a tunnel's address."""
    gpu_token: SecretStr = SecretStr("")
    """The GPU_TOKEN of that GPU host."""
    gpu_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How long the GPU host may stay silent before a render is given up."""
    data_dir: Path = Path(".data/backend")
    """Where uploads, results and the job database are kept."""
    database_url: str = ""
    """SQLAlchemy URL of the job database; empty keeps SQLite in the data directory."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """How many jobs are made at the same time."""
    max_queue: Annotated[int, Field(ge=1)] = 50
    """How many jobs may wait; further requests are told to come back later."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = MAX_UPLOAD_BYTES
    """Largest request body."""
    gtts: bool = True
    """Whether Google's online voices may be used; they are sent the text."""
    gtts_timeout_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How long Google's voice may be silent before the offline voice speaks the whole text."""
    webhook_secret: SecretStr = SecretStr("")
    """Signs what is posted to a job's `callback_url`; empty refuses jobs that have one."""
    webhook_private: bool = False
    """Whether call-backs may go to private and loopback addresses, such as a receiver's on this
    machine; else whoever may make a video could have this machine post into its own network."""

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> Self:
        if not is_loopback(self.host) and not self.token.get_secret_value():
            raise ValueError(
                f"BACKEND_HOST={self.host} can be reached by other machines: "
                "set BACKEND_TOKEN to a long random string, or use BACKEND_HOST=127.0.0.1"
            )
        return self

    @property
    def sqlalchemy_url(self) -> str:
        """The job database, by default SQLite in the data directory."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'jobs.sqlite3').as_posix()}"
