"""What a fault says of the job, its host or this machine, and what is told of hosts that fail."""

import pytest

from backend.gpu.faults import for_host, no_host
from backend.jobs.faults import HOST_FAULTS
from contracts.errors import (
    GpuRefused,
    GpuUnreachable,
    NoGpuHost,
    RenderFailed,
    TunnelFailed,
    VersionMismatch,
)


@pytest.mark.parametrize("kind", [GpuUnreachable, TunnelFailed, NoGpuHost, VersionMismatch])
def test_what_is_the_hosts_fault_moves_the_job_on(kind):
    assert issubclass(kind, HOST_FAULTS)
    assert not issubclass(RenderFailed, HOST_FAULTS)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (GpuUnreachable("gone"), "Start the GPU host"),
        (GpuRefused("refused"), "connection string"),
        (NoGpuHost("a web page"), "/run-wav2lip"),
        (GpuUnreachable("asked 300 times", hint="after midnight"), "after midnight"),
        (TunnelFailed("offline", hint="as the tunnel says"), "as the tunnel says"),
        (VersionMismatch("2.0", hint="as the version says"), "as the version says"),
    ],
)
def test_a_host_that_no_setting_names_gets_a_hint_that_fits(error, hint):
    kept = for_host(error, fixed=False)
    assert (type(kept), kept.detail) == (type(error), error.detail)
    assert hint in kept.hint
    assert "BACKEND" not in kept.hint
    assert for_host(error, fixed=True).hint == error.hint


def test_when_to_ask_again_is_kept():
    error = TunnelFailed("limit", retry_after_seconds=900.0)
    assert for_host(error, fixed=False).retry_after_seconds == 900.0


def test_one_fault_is_told_as_itself_and_several_together():
    assert no_host([]).detail == "there is no GPU host"
    assert isinstance(no_host([("a", GpuRefused("refused"))]), GpuRefused)
    told = no_host([("a", GpuRefused("refused")), ("b", TunnelFailed("offline"))])
    assert told.detail == "no GPU host can be used: a: refused; b: offline"
