"""Looks for what the GPU host lacks on its machine: `python -m gpu_service doctor`."""

from typing import Final

from contracts.doctor.command import Doctor
from contracts.doctor.findings import Finding


def _look(machine: bool) -> list[Finding]:
    # Imported late: it needs the packages, of which some may be what is wrong.
    from gpu_service.doctor.service import look_at_service

    return look_at_service(machine=machine)


DOCTOR: Final = Doctor("gpu_service", "GPU host", _look)
