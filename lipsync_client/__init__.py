"""Typed client of the backend's HTTP API; requests and contracts only."""

from lipsync_client.client import BackendUnreachable, LipSync
from lipsync_client.webhooks import verify_signature

__all__ = ["BackendUnreachable", "LipSync", "verify_signature"]
