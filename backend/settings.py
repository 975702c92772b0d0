"""The backend's settings, from BACKEND_* in the environment or in a .env file."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from contracts.errors import InvalidInput
from contracts.hosts import host_url, is_loopback
from contracts.limits import MAX_UPLOAD_BYTES
from contracts.secret_files import secrets_dir


class Settings(BaseSettings):
    """What an operator may set."""

    model_config = SettingsConfigDict(
        env_prefix="BACKEND_",
        env_file=".env",
        secrets_dir=secrets_dir(),
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
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
    """Where a GPU host answers: this machine, a cloud machine, or a tunnel's address; others can be
    added while the backend runs. Empty names none."""
    gpu_token: SecretStr = SecretStr("")
    """The GPU_TOKEN of that GPU host."""
    gpu_timeout_seconds: Annotated[float, Field(gt=0)] = 45.0
    """How long it is tried to resume a connection to a GPU host before the job moves on. The host
    stops a render that nobody has listened to for 60 seconds."""
    gpu_plain_http: bool = False
    """Whether GPU hosts beyond this machine may be added with http:// addresses, over which the
    token and the faces can be read by everybody on the way."""
    gpu_forwarded: bool = False
    """Whether GPU hosts at loopback addresses are on other machines, behind ports forwarded to them
    as by ssh -L: what is sent there is then packed, and goes on where a cut left off, as it is with
    every other address."""
    ngrok_api_key: Annotated[
        SecretStr, Field(validation_alias=AliasChoices("BACKEND_NGROK_API_KEY", "NGROK_API_KEY"))
    ] = SecretStr("")
    """API key of the ngrok account behind which GPU hosts run: those are then found and offered on
    the page "GPU hosts". No authtoken; NGROK_API_KEY is read, too."""
    data_dir: Path = Path(".data/backend")
    """Where uploads, results and the job database are kept."""
    database_url: SecretStr = SecretStr("")
    """Where the job database is: postgresql://user:password@host/name; empty keeps it in the data
    directory, with SQLite."""
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    """How many jobs are made at the same time, if the GPU hosts have room for so many."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """A job has failed when its engine failed, or its GPU host died, so often."""
    lease_seconds: Annotated[float, Field(ge=3)] = 15.0
    """When a backend has been silent for so long, another one that uses the same database takes up
    its jobs."""
    max_queue: Annotated[int, Field(ge=1)] = 50
    """How many jobs may wait; further requests are told to come back later."""
    max_sockets: Annotated[int, Field(ge=1)] = 16
    """How many base64 sockets may be open; each may hold several of its messages in memory."""
    result_ttl: Annotated[str, Field(pattern=r"^\d{1,9}[smhd]?$", examples=["7d"])] = "7d"
    """How long uploads and videos stay after their job has ended: seconds, or a number with s, m, h
    or d; 0 keeps them for ever."""
    disk_budget_bytes: Annotated[int, Field(ge=0)] = 20_000_000_000
    """How much room the media of ended jobs may take; the oldest go first. 0 sets no limit."""
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

    @field_validator("gpu_url")
    @classmethod
    def _address(cls, text: str) -> str:
        try:
            return host_url(text) if text else ""
        except InvalidInput as error:
            raise ValueError(f"{error.detail}. {error.hint}") from None

    @field_validator("database_url")
    @classmethod
    def _database(cls, url: SecretStr) -> SecretStr:
        try:
            kind = make_url(url.get_secret_value() or "sqlite://").get_backend_name()
        except (ArgumentError, ValueError):
            kind = ""
        if kind not in ("sqlite", "postgresql", "postgres"):
            raise ValueError("it should look like postgresql://user:password@host/name")
        return url

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> Self:
        if not is_loopback(self.host) and not self.token.get_secret_value():
            raise ValueError(
                f"BACKEND_HOST={self.host} can be reached by other machines: "
                "set BACKEND_TOKEN to a long random string, or use BACKEND_HOST=127.0.0.1"
            )
        return self

    @property
    def result_ttl_seconds(self) -> int:
        """How long media stay; 0 for ever."""
        units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
        unit = units.get(self.result_ttl[-1:])
        return int(self.result_ttl[:-1]) * unit if unit else int(self.result_ttl)

    @property
    def sqlalchemy_url(self) -> str:
        """The job database, by default SQLite in the data directory."""
        named = self.database_url.get_secret_value()
        return named or f"sqlite:///{(self.data_dir / 'jobs.sqlite3').as_posix()}"
