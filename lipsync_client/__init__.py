"""Typed client of the backend's HTTP API; requests and contracts only."""

from lipsync_client.client import BackendUnreachable, LipSync

__all__ = ["BackendUnreachable", "LipSync"]
