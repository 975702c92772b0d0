"""The GPU host's settings, from GPU_* in the environment or in a .env file."""

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.hosts import is_loopback
from contracts.limits import MAX_UPLOAD_BYTES
from contracts.secret_files import secrets_dir

Device = Literal["auto", "cpu", "cuda"]
RuntimeName = Literal["auto", "torch", "openvino", "onnx"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Tunnel = Literal["", "ngrok", "cloudflared", "none"]
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


class Compute(NamedTuple):
    """Where and how networks are to run, as the operator chose."""

    device: Device = "auto"
    """`auto` takes a CUDA card where there is one."""
    runtime: RuntimeName = "auto"
    """`auto` takes PyTorch on a CUDA card; on a CPU OpenVINO, where it is installed."""
    precision: Precision = "auto"
    """`auto` is fp16 on a CUDA card, and fp32 elsewhere."""


class Settings(BaseSettings):
    """What an operator may set."""

    model_config = SettingsConfigDict(
        env_prefix="GPU_",
        env_file=".env",
        secrets_dir=secrets_dir(),
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback is guarded by a token."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9000
    """Port to listen on; 0 takes a free one."""
    token: SecretStr = SecretStr("")
    """What callers send as `Authorization: Bearer ...`. Empty asks nobody on loopback; with
    GPU_TUNNEL or beyond loopback one is made, printed, and kept in the data directory."""
    tunnel: Tunnel = ""
    """How others reach this host: ngrok or cloudflared open a public address, none says how to come
    by SSH. Empty serves this machine alone."""
    tunnel_domain: str = ""
    """A domain of your ngrok account, such as name.ngrok-free.dev, so that the address stays the
    same."""
    ngrok_authtoken: Annotated[
        SecretStr,
        Field(validation_alias=AliasChoices("GPU_NGROK_AUTHTOKEN", "NGROK_AUTHTOKEN")),
    ] = SecretStr("")
    """The authtoken of your ngrok account; NGROK_AUTHTOKEN is read too. Empty leaves it to ngrok's
    own configuration file."""
    engine_order: str = "wav2lip,facewarp"
    """What `auto` tries, comma-separated: the first engine that is ready renders."""
    device: Device = "auto"
    """Where networks run; `auto` takes a CUDA card where there is one."""
    runtime: RuntimeName = "auto"
    """What runs networks: torch or openvino; `auto` takes OpenVINO on a CPU where it is installed.
    Exported networks run on openvino, or on onnx."""
    precision: Precision = "auto"
    """What networks compute in: fp32, bf16 or fp16; `auto` is fp16 on a CUDA card, fp32 on a CPU.
    bf16 is twice as fast on CPUs that have it."""
    weights_dir: Path = Path(".data/weights")
    """Where installed checkpoints are kept."""
    max_concurrent: Annotated[int, Field(ge=1, le=64)] = 1
    """How many renders may run at the same time."""
    max_queue: Annotated[int, Field(ge=0, le=64)] = 2
    """How many renders may wait for their turn; further ones are told to come back later."""
    kept_bytes: Annotated[int, Field(ge=0)] = 256_000_000
    """Room for videos that have ended, on the disk but for short ones: for 15 minutes, who lost the
    connection gets the rest."""
    face_cache_bytes: Annotated[int, Field(ge=0)] = 200_000_000
    """Memory for uploaded faces, which need not be sent again for the next speech."""
    avatar_cache_bytes: Annotated[int, Field(ge=0)] = 256_000_000
    """Memory for faces that are ready to speak, so that their next speech begins at once."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = MAX_UPLOAD_BYTES
    """Largest request body, and largest file that is sent in parts."""
    data_dir: Path = Path(".data/gpu")
    """Where a token that was made is kept, and files that are sent in parts while they are used."""
    media_bytes: Annotated[int, Field(ge=1)] = 1_000_000_000
    """Room on the disk for files that are sent in parts; those go first that were used longest
    ago."""
    media_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """How long such a file stays after its last use."""
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long renders may go on when the host is told to stop; what has not ended by then is
    handed back, to be rendered elsewhere."""

    @field_validator("tunnel_domain")
    @classmethod
    def _bare_domain(cls, text: str) -> str:
        domain = text.strip().lower().removeprefix("https://").rstrip("/")
        if domain and not _DOMAIN.fullmatch(domain):
            raise ValueError("write a domain alone, such as name.ngrok-free.dev")
        return domain

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def compute(self) -> Compute:
        """Where and how networks run."""
        return Compute(self.device, self.runtime, self.precision)

    @property
    def engine_names(self) -> tuple[str, ...]:
        """What `auto` tries, in order."""
        return tuple(name.strip() for name in self.engine_order.split(",") if name.strip())
