"""The real backend on a loopback port, with a fake voice unless told otherwise."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.app import create_app
from backend.settings import Settings
from backend.speech.base import TtsProvider
from tests.fakes.serving import serving
from tests.fakes.voice import FakeVoices


@contextmanager
def running_backend(
    data_dir: Path, gpu_url: str, voices: Sequence[TtsProvider] | None = None, **settings: Any
) -> Iterator[str]:
    """Its address; everything that it keeps lies in `data_dir`."""
    # Whatever a developer's own .env says does not count here.
    chosen = Settings(_env_file=None, data_dir=data_dir, gpu_url=gpu_url, **settings)  # type: ignore[call-arg]
    with serving(create_app(chosen, [FakeVoices()] if voices is None else voices)) as url:
        yield url
