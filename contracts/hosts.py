"""Which host names mean this machine alone."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether the host can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
