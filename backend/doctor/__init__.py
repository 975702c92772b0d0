"""Looks for what the backend lacks on its machine: `python -m backend doctor`."""

from typing import Final

from contracts.doctor.command import Doctor
from contracts.doctor.findings import Finding


def _look(machine: bool) -> list[Finding]:
    # Imported late: it needs the packages, of which some may be what is wrong.
    from backend.doctor.service import look_at_service

    return look_at_service(machine=machine)


DOCTOR: Final = Doctor("backend", "backend", _look)
