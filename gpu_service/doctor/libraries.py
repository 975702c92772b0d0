"""Libraries that hurt one another, or that have a known hole."""

import re
from importlib.metadata import distributions
from typing import Final

from contracts.doctor.findings import Finding, fault, note, well
from contracts.doctor.machine import ask_python, this_python

FFMPEG_FLOOR: Final = (8, 1, 3)
"""Closes CVE-2026-107697: a playlist in a playlist passes over the list of allowed formats."""
ASK_SECONDS: Final = 8.0
_AV_TELLS: Final = "import av; print(av.ffmpeg_version_info)"


def look_at_opencv() -> Finding:
    """Whether there is one OpenCV: each of its packages writes into the same folder."""
    found = {
        f"{package.name} {package.version}"
        for package in distributions()
        if re.fullmatch(r"opencv[-_](contrib[-_])?python([-_]headless)?", package.name or "", re.I)
    }
    if len(found) < 2:
        return well("opencv", next(iter(found), "not installed"))
    names = sorted(each.split()[0] for each in found)
    kept = next((each for each in found if "contrib" not in each and "headless" in each), "")
    pip = f"{this_python()} -m pip"
    again = kept.replace(" ", "==") or "opencv-python-headless"
    return fault(
        "opencv",
        f"several of its packages are installed: {', '.join(sorted(found))}",
        "They overwrite one another's files, and which one works changes with each installation.",
        f"{pip} uninstall -y {' '.join(names)} && {pip} install --no-deps {again}",
    )


def look_at_ffmpeg() -> list[Finding]:
    """The FFmpeg in PyAV, which opens what people upload."""
    answer = ask_python(["-c", _AV_TELLS], ASK_SECONDS)
    told = answer.out.strip()
    numbers = tuple(int(number) for number in re.findall(r"\d+", told)[:3])
    if answer.status != 0:
        return []  # the engines tell why
    if len(numbers) < 2 or numbers >= FFMPEG_FLOOR:
        return [well("ffmpeg", f"{told}, within PyAV")]
    return [
        note(
            "ffmpeg",
            f"{told}, within PyAV, has CVE-2026-107697, which 8.1.3 closes",
            "It is about playlists, and uploads are opened only as one of the formats of a list "
            "that has no playlists. Take the newer PyAV once the lock names it.",
        )
    ]
