"""All that the doctor looks at for the backend, once its packages can be imported."""

from typing import Final

from backend.doctor.hosts import look_at_hosts
from backend.doctor.voices import look_at_offline_voice, look_at_online_voice
from backend.settings import Settings
from contracts.doctor.findings import Finding, fault, look_at_all, well
from contracts.doctor.machine import (
    Door,
    guessable,
    look_at_disk,
    look_at_folder,
    look_at_memory,
    look_at_port,
    token_line,
    where_set,
)
from contracts.hosts import is_loopback
from contracts.settings_faults import look_at_settings

SECONDS: Final = 25.0
"""How long the doctor may take; most of what it asks answers or is given up in 10."""
NEEDED_DISK_GB: Final = 2.0
"""Some uploads and videos."""
NEEDED_MEMORY_GB: Final = 1.0


def look_at_service(*, machine: bool) -> list[Finding]:
    """Look at everything at the same time.

    Args:
        machine: Also at port, memory and disk.
    """
    settings, found = look_at_settings(Settings, "BACKEND_", token_line("BACKEND_TOKEN"))
    found += [_token(settings), _api_key(settings)]
    found.append(look_at_folder("data", settings.data_dir, "BACKEND_DATA_DIR"))
    looks = {
        "voices": lambda: [look_at_offline_voice()],
        "gtts": lambda: [look_at_online_voice(settings)],
        "hosts": lambda: look_at_hosts(settings),
    }
    if machine:
        door = Door("backend", "BACKEND_PORT", settings.port, "/health/live")
        looks = {
            "memory": lambda: look_at_memory(NEEDED_MEMORY_GB),
            "disk": lambda: [look_at_disk(settings.data_dir, NEEDED_DISK_GB)],
            "ports": lambda: [look_at_port(door)],
        } | looks
    return found + look_at_all(looks, SECONDS)


def _token(settings: Settings) -> Finding:
    token = settings.token.get_secret_value()
    if not token:
        return well("token", "none, and only programs of this machine reach the backend")
    if is_loopback(settings.host) or not guessable(token):
        return well("token", "callers of the backend need BACKEND_TOKEN")
    return fault(
        "token",
        f"BACKEND_TOKEN (from {where_set('BACKEND_TOKEN')}) can be guessed: it is short or uniform",
        "Whoever finds the backend could read what others upload.",
        token_line("BACKEND_TOKEN"),
    )


def _api_key(settings: Settings) -> Finding:
    if settings.ngrok_api_key.get_secret_value():
        return well("tunnel", "GPU hosts behind ngrok are found by the account's API key")
    return well("tunnel", "no NGROK_API_KEY: GPU hosts behind ngrok are pasted, not found")
