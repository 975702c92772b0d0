"""Only one process at a time holds a lock."""

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import Busy
from gpu_service.weights.lock import alone

HOLD = """
import sys
from pathlib import Path
from gpu_service.weights.lock import alone
with alone(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_kept_out_until_this_one_dies(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match="it is being installed"), alone(path, "it"):
            pass
        other.kill()
    with alone(path, "it"):
        assert path.exists()
    assert not path.exists()


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_on_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / ".lock", []
    first_open = Path.open

    def removed_after_opening(self: Path, mode: str) -> object:
        file = first_open(self, mode)
        opened.append(file)
        if len(opened) == 1:
            self.unlink()
        return file

    monkeypatch.setattr(Path, "open", removed_after_opening)
    with alone(path, "it"):
        assert path.exists()
        with pytest.raises(Busy), alone(path, "it"):
            pass
    assert len(opened) == 3
