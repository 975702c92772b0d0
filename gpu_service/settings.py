"""The GPU host's settings, from GPU_* in the environment or in a .env file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.hosts import is_loopback
from contracts.limits import MAX_UPLOAD_BYTES


class Settings(BaseSettings):
    """What an operator may set."""

    model_config = SettingsConfigDict(
        env_prefix="GPU_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback is guarded by a token."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9000
    """Port to listen on; 0 takes a free one."""
    token: SecretStr = SecretStr("")
    """What callers send as `Authorization: Bearer ...`; empty asks nobody on loopback, and beyond
    loopback one is made and printed."""
    engine_order: str = "wav2lip,facewarp"
    """What `auto` tries, comma-separated: the first engine that is ready renders."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run; `auto` takes a CUDA card where there is one."""
    weights_dir: Path = Path(".data/weights")
    """Where installed checkpoints are kept."""
    max_concurrent: Annotated[int, Field(ge=1, le=64)] = 1
    """How many renders may run at the same time; further ones are told to come back later."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = MAX_UPLOAD_BYTES
    """Largest request body."""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def engine_names(self) -> tuple[str, ...]:
        """What `auto` tries, in order."""
        return tuple(name.strip() for name in self.engine_order.split(",") if name.strip())
