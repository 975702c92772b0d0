"""What is wrong with GPU hosts, as it is kept and told."""

from contracts.errors import (
    GpuRefused,
    GpuUnreachable,
    LipSyncError,
    NoGpuHost,
    TunnelFailed,
    VersionMismatch,
)


def no_host(faults: list[tuple[str, LipSyncError]]) -> LipSyncError:
    """Why none of several hosts takes a job.

    Args:
        faults: Their names, and what is wrong with each.
    """
    if not faults:
        return GpuUnreachable(
            "there is no GPU host", hint="Add one, or set BACKEND_GPU_URL and restart."
        )
    if len(faults) == 1:
        error = faults[0][1]
        # One that is kept is never raised: it would hold on to all that it passed through.
        return type(error)(error.detail, hint=error.hint)
    return GpuUnreachable(
        "no GPU host can be used: "
        + "; ".join(f"{name}: {error.detail}" for name, error in faults),
        hint="Start one of them, or add another.",
    )


def for_host(error: LipSyncError, fixed: bool) -> LipSyncError:
    """The error to keep, with a hint that fits a host which no setting names."""
    hint = error.hint
    general = hint == error.default_hint and not isinstance(error, TunnelFailed | VersionMismatch)
    if general and not fixed:
        hint = "Start the GPU host, and check its address."
        if isinstance(error, GpuRefused):
            hint = (
                "Paste the connection string that it printed at its start: added once more, the "
                "host takes the new token."
            )
        elif isinstance(error, NoGpuHost):
            hint = "Check the address: no GPU host of ours and no /run-wav2lip is there."
    return type(error)(error.detail, hint=hint, retry_after_seconds=error.retry_after_seconds)
