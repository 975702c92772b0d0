"""What the cells of colab_gpu_server.ipynb do: one method of `Host` each.

It runs in the notebook's own Python, which has none of the project's packages.
"""

import atexit
import functools
import importlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext, suppress
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, NamedTuple

from contracts.doctor.machine import ask
from contracts.doctor.packages import read_pins
from notebooks.background import Background
from tools.demo import multipart, problem
from tools.environment import TORCH
from tools.processes import lines_of

DRIVE = Path("/content/drive")
CHECKPOINTS = (".pth", ".pt", ".safetensors")
DRAIN_SECONDS = 40
"""A host that is stopped has 30 s for the render that runs."""
FRAMES = 50
"""Of the two seconds of samples/hello.flac, at 25 frames a second."""
NGROK_AUTHTOKEN = "NGROK_AUTHTOKEN"
KERNELS_OWN = (
    *("PYTHONPATH", "PYTHONHOME", "MPLBACKEND", "FORCE_COLOR", "CLICOLOR_FORCE"),
    *("UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_PRERELEASE"),
)
"""Variables of a notebook's kernel that mean nothing, or harm, in another Python. By those of uv,
Colab has it heed what Colab itself has installed."""
CUDA_13_DRIVER = 580
"""The oldest driver of NVIDIA for CUDA 13, which PyPI's build of PyTorch is for."""
CUDA_12 = ("--torch-backend", "cu126")
"""Has uv take PyTorch's own build for older drivers, such as Colab's 550."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StepFailed(Exception):
    """A cell could not do its work.

    Args:
        what: What is wrong.
        hint: What to do.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"It failed: {what}\nWhat to do: {hint}")

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback."""
        return str(self).splitlines()


class Rendered(NamedTuple):
    """One video of the self-test."""

    video: bytes
    engine: str
    seconds: float


@functools.cache
def host(folder: str) -> "Host":
    """The GPU host of a project's folder; the same one when its cell runs again.

    Args:
        folder: Where the project is.
    """
    found = Host(Path(folder).resolve())
    print(f"Done: the project is in {found.folder}.")
    return found


class Host:
    """A GPU host that is set up and started from a notebook.

    Args:
        folder: The project's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = sys.executable
        """What runs the GPU host."""
        self.url = ""
        """Where it answers on this machine."""
        self._secrets: dict[str, str] = {}
        self._server: Background | None = None
        atexit.register(self.stop)

    def install(self, python: str = "3.12", *, torch: bool = True) -> None:
        """Make an environment of its own from the lock, or take one that is there.

        Args:
            python: A version that uv finds or fetches, or a path; `this one` means the notebook's
                own Python, with the packages that it has.
            torch: Whether to install PyTorch; without it only the built-in engine runs.

        Raises:
            StepFailed: Something could not be installed.
        """
        if python == "this one":
            hint = "choose a version of Python, so that an environment is made."
            self._run([sys.executable, "-c", "import gpu_service.app"], hint)
            self.python = sys.executable
            print(f"Done: the GPU host will run on this notebook's Python, {sys.executable}.")
            return
        lock = self.folder / "requirements" / "gpu_service.txt"
        environment = self.folder / ".venv-gpu"
        hint = "check the network and run this cell again; what is there already is kept."
        uv = self._uv(hint)
        self.python = str(environment / "bin" / "python")
        if not Path(self.python).exists():
            self._run(
                [*uv, "venv", "--quiet", "--clear", "--python", python, str(environment)], hint
            )
        install = [*uv, "pip", "install", "--quiet", "--python", self.python]
        install += ["--only-binary", ":all:"]
        self._run([*install, "--no-deps", "--require-hashes", "-r", str(lock)], hint)
        device = ", for the built-in engine alone,"
        if torch:
            print(f"Installing {TORCH}: with CUDA, some gigabytes", flush=True)
            driver = _driver()
            build = CUDA_12 if 0 < driver < CUDA_13_DRIVER else ()
            self._run([*install, *build, TORCH], hint)
            device = f" and {TORCH}, {self._device(driver)},"
        print(f"Done: {len(read_pins(lock))} locked packages{device} are in {environment}.")

    def read_secrets(self, ngrok: str = NGROK_AUTHTOKEN, token: str = "GPU_TOKEN") -> None:  # noqa: S107
        """Take secrets by name from Colab's store, elsewhere from the environment.

        Args:
            ngrok: Name of ngrok's authtoken.
            token: Name of the token that callers of the host must send; where there is none, one is
                made.

        Raises:
            StepFailed: The store has a secret that this notebook may not read.
        """
        authtoken, own = _secret(ngrok), _secret(token)
        self._secrets = {"GPU_TOKEN": own or secrets.token_urlsafe(24)}
        if authtoken:
            self._secrets[NGROK_AUTHTOKEN] = authtoken
        found = "found" if authtoken else "not there, so ngrok can't be used"
        kept = "found" if own else "not there, so a new token was made"
        print(f"Done: {ngrok} is {found}; {token} is {kept}.")

    def add_weights(self, source: str, place: str = "", name: str = "", *, accepted: bool) -> None:
        """Install checkpoints and compare them with their records.

        Args:
            source: `none`, `Drive or folder`, `address` or `upload`.
            place: A file or a folder, also on Drive as `MyDrive/…`; or an address.
            name: Of the weights, as `weights list` has it, where a file's name does not say so.
            accepted: Whether the person accepts their licence.

        Raises:
            StepFailed: They could not be had, or are not what they should be.
        """
        licence = ["--accept-licence"] if accepted else []
        named = ["--name", name] if name else []
        hint = "correct the form, or choose the source `none`: the built-in engine needs no file."
        if source == "address":
            self._weights(["fetch", name or "wav2lip_gan", "--url", place, *licence], hint)
        elif source != "none":
            with _uploaded() if source == "upload" else nullcontext(_files(place)) as files:
                for file in files:
                    self._weights(["add", str(file), *named, *licence], hint)
        self._weights(["verify"], "remove what has changed, and run this cell again.")
        what = "the built-in engine" if source == "none" else "the checkpoints"
        print(f"Done: {what} can be used.")

    def serve(self, tunnel: str = "ngrok", domain: str = "", port: int = 9000) -> None:
        """Start the GPU host, and return once it can be reached; it goes on beside other cells.

        Args:
            tunnel: `ngrok`, `cloudflared` or `none`.
            domain: ngrok's permanent domain, if there is one.
            port: Where it listens on this machine; 0 takes a free one.

        Raises:
            StepFailed: It does not start.
        """
        if not self._secrets:
            raise StepFailed("the secrets were not read", "run cell 3 first.")
        if tunnel == "ngrok" and NGROK_AUTHTOKEN not in self._secrets:
            raise StepFailed(
                "ngrok needs an authtoken",
                "put it into Colab's secrets (the key at the left) and run cell 3 again, "
                "or choose another tunnel.",
            )
        self.stop()
        command = [self.python, "-m", "gpu_service", "serve", "--tunnel", tunnel]
        command += ["--domain", domain] if domain else []
        environment = self._environment() | self._secrets | {"GPU_PORT": str(port)}
        self._server = server = Background(command, cwd=self.folder, env=environment)
        try:
            listens = server.wait_for(r"running on (http://\S+)") and server.wait_for("lipsync://")
        except KeyboardInterrupt:
            self.stop()
            raise
        found = server.wait_for(r"running on (http://\S+)")
        if not listens or not found:
            why = (server.output.splitlines() or ["it said nothing"])[-1]
            raise StepFailed(f"the GPU host ended: {why}", "its lines above say what is wrong.")
        self.url = found[1]
        print(
            "Done: the GPU host runs. Paste its connection string into the page 'GPU hosts'; "
            "if that page can't reach it, run this cell again."
        )

    def self_test(self, engine: str = "auto") -> None:
        """Have the running host render two seconds, and show them with frames a second.

        Args:
            engine: Who renders.

        Raises:
            StepFailed: No video came.
        """
        first, again = self._render(engine), self._render(engine)
        display = importlib.import_module("IPython.display")
        display.display(
            display.Video(data=again.video, embed=True, mimetype="video/mp4", width=360)
        )
        print(
            f"Done: {again.engine} rendered {FRAMES / again.seconds:.0f} frames a second "
            f"({FRAMES} frames in {again.seconds:.2f} s; the first time, when it looks for the "
            f"face, {first.seconds:.2f} s). If that is below 25, choose a GPU as runtime."
        )

    def watch(self, on: bool = True) -> None:
        """Show what the host does until this cell is stopped, which stops the host too.

        Args:
            on: Else return at once; the host goes on until the notebook ends.
        """
        if not on or not self._server:
            return
        try:
            print("The host runs until you stop this cell.", flush=True)
            self._server.wait()
        except KeyboardInterrupt:
            pass
        else:
            self._server = None
            raise StepFailed("the GPU host has ended", "run cell 5 again.")
        self.stop()

    def stop(self) -> None:
        """Let the host finish what it renders, and end it; harmless where none runs."""
        server, self._server = self._server, None
        if server and server.running:
            print("Stopping the GPU host; a render that runs may take 30 s more.", flush=True)
            status = server.stop(DRAIN_SECONDS)
            print(f"Done: the GPU host has ended (exit status {status}).", flush=True)

    def _render(self, engine: str) -> Rendered:
        samples = self.folder / "samples"
        files = {"face": samples / "portrait.jpg", "speech": samples / "hello.flac"}
        boundary = secrets.token_hex(16)
        options = {"options": json.dumps({"engine": engine})}
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Authorization": f"Bearer {self._secrets.get('GPU_TOKEN', '')}",
            "Accept": "video/mp4",
        }
        body = b"".join(multipart(options, files, boundary))
        request = urllib.request.Request(f"{self.url}/render", body, headers)
        started = time.monotonic()
        try:
            with _DIRECT.open(request, timeout=600) as answer:
                video = answer.read()
                return Rendered(video, answer.headers["X-Engine"], time.monotonic() - started)
        except urllib.error.HTTPError as error:
            with error:
                what, _, hint = problem(json.loads(error.read())).partition("\n")
            raise StepFailed(what, hint) from None
        except (OSError, ValueError) as error:
            what = f"the GPU host does not answer: {error}"
            raise StepFailed(what, "run cell 5 again.") from None

    def _weights(self, arguments: Sequence[str], hint: str) -> None:
        self._run([self.python, "-m", "gpu_service", "weights", *arguments], hint)

    def _device(self, driver: int) -> str:
        code = "import torch; print(torch.cuda.is_available() and torch.cuda.get_device_name())"
        name = self._run([self.python, "-c", code], "run this cell again.", show=False)[-1]
        if name == "False" and driver:
            return f"for a CPU: it can't use the GPU that is there (driver {driver})"
        if name == "False":
            return "for a CPU: there is no GPU, choose one under Runtime > Change runtime type"
        return f"for {name}"

    def _uv(self, hint: str) -> list[str]:
        """The command uv, which is put into the notebook's own Python if need be."""
        if path := shutil.which("uv"):
            return [path]
        if importlib.util.find_spec("uv") is None:
            self._run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], hint)
        return [sys.executable, "-m", "uv"]

    def _run(self, command: Sequence[str], hint: str, *, show: bool = True) -> list[str]:
        """A command's lines, which are printed as they come."""
        lines: list[str] = []
        try:
            with lines_of(command, cwd=self.folder, env=self._environment()) as output:
                for line in output:
                    lines.append(line)
                    if show:
                        print(line, flush=True)
        except (CalledProcessError, OSError) as error:
            raise StepFailed(lines[-1] if lines else str(error), hint) from None
        return lines

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in KERNELS_OWN}
        return kept | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "NO_COLOR": "1"}


def _driver() -> int:
    """The major version of NVIDIA's driver; 0 where there is no card, or it does not answer."""
    with suppress(OSError):
        answer = ask(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], 30)
        if answer.status == 0 and (version := re.match(r"\d+", answer.out)):
            return int(version[0])
    return 0


def _colab(name: str) -> Any:
    """A module of Colab's own library; None elsewhere."""
    try:
        return importlib.import_module(f"google.colab.{name}")
    except ModuleNotFoundError:
        return None


def _secret(name: str) -> str:
    """The secret of this name; empty where there is none."""
    store = _colab("userdata")
    if store is None:
        return os.environ.get(name, "").strip()
    try:
        return str(store.get(name) or "").strip()
    except store.SecretNotFoundError:
        return ""
    except (store.NotebookAccessError, store.TimeoutException):
        raise StepFailed(
            f"this notebook may not read the secret {name}",
            "open the secrets (the key at the left), allow it there, and run this cell again.",
        ) from None


def _files(place: str) -> list[Path]:
    """The checkpoints at a place of this machine or of Drive."""
    path = DRIVE / place if place.startswith("MyDrive") else Path(place).expanduser()
    drive = _colab("drive") if path.is_relative_to(DRIVE) else None
    if drive and not path.exists():
        try:
            drive.mount(str(DRIVE))
        except (ValueError, _colab("errors").Error) as error:
            hint = "let this notebook use your Drive when it asks, and run this cell again."
            raise StepFailed(f"Drive can't be reached: {error}", hint) from None
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in CHECKPOINTS)
    if not place or not path.exists() or not files:
        raise StepFailed(
            f"there is no checkpoint at {place or 'an empty place'}",
            "name a file or a folder that holds some, such as MyDrive/wav2lip_gan.pth.",
        )
    return files


@contextmanager
def _uploaded() -> Iterator[list[Path]]:
    """Files that the person chooses in the browser, there until the block ends."""
    files = _colab("files")
    if files is None:
        raise StepFailed("only Colab can upload", "name the file, with `Drive or folder`.")
    # Colab saves where the kernel is, and under another name where one is taken; here none is.
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        if not (names := list(files.upload())):
            raise StepFailed("no file was chosen", "run this cell again, and choose one.")
        yield [Path(name).resolve() for name in names]
