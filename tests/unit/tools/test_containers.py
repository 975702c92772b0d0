"""The Dockerfile and compose.yaml: linted, and true to the rest of the project."""

import importlib.util
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic_settings import BaseSettings

import backend.settings
import frontend.settings
import gpu_service.settings
from tests.pages import commands
from tools.environment import ROOT, TORCH
from tools.image_steps import stages

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STAGES = stages(DOCKERFILE)
IMAGES = {
    "frontend": {"contracts", "lipsync_client", "frontend", "samples"},
    "backend": {"contracts", "lipsync_client", "backend"},
    "gpu_service": {"contracts", "gpu_service"},
    "lipsync-api": {"contracts", "lipsync_client", "backend", "gpu_service", "tools"},
}
"""The folders that each holds."""
SETTINGS: dict[str, type[BaseSettings]] = {
    "FRONTEND_": frontend.settings.Settings,
    "BACKEND_": backend.settings.Settings,
    "GPU_": gpu_service.settings.Settings,
}


def is_setting(name: str) -> bool:
    """Whether a service reads this variable."""
    prefix = re.match(r"[A-Z]+_", name)
    settings = SETTINGS.get(prefix[0]) if prefix else None
    return settings is not None and name[len(prefix[0]) :].lower() in settings.model_fields


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_is_what_its_schema_says(compose: dict[str, Any]) -> None:
    # Found without importing it: its command line needs a newer click than gTTS allows.
    package = importlib.util.find_spec("check_jsonschema")
    assert package
    assert package.origin
    schemas = Path(package.origin).parent / "builtin_schemas/vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validate(compose, schema)


def test_the_image_without_a_target_is_the_api_with_a_gpu_host() -> None:
    assert list(STAGES)[-1] == "lipsync-api"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_holds_its_own_folders_and_is_no_roots(image: str) -> None:
    stage = STAGES[image]
    copied = {word for text in stage.texts("COPY") for word in text.split()[:-1]}
    assert {path.split("/")[0] for path in copied} == IMAGES[image] | {"requirements"}
    assert stage.texts("USER")[-1] == "1000"
    assert stage.texts("EXPOSE")
    assert stage.health_check()[0] == "python"
    assert stage.command()[:2] == ["python", "-m"]


def test_health_checks_ask_each_service_and_no_gpu_host_beyond_the_container() -> None:
    checks = {name: STAGES[name].health_check()[2] for name in IMAGES}
    # That asks the hosts that were added, too, day and night: behind a tunnel each request counts.
    assert not [name for name, check in checks.items() if "/health/ready" in check]
    for service in ("BACKEND_PORT", "GPU_PORT"):
        assert service in checks["lipsync-api"]


@pytest.mark.parametrize("image", IMAGES)
def test_what_an_image_runs_can_be_read_however_private_the_checkout_is(image: str) -> None:
    # Files keep the mode that they have outside, and become root's.
    *_, last_copied, opened = [
        each for each in STAGES[image].instructions if each.name == "COPY" or "chmod" in each.text
    ]
    assert last_copied.name == "COPY"
    assert opened.text == "chmod -R a+rX ."


@pytest.mark.parametrize("accelerator", ["none", "cpu", "cuda"])
def test_every_package_is_locked_but_pytorch(accelerator: str) -> None:
    for stage in stages(DOCKERFILE, {"ACCELERATOR": accelerator}).values():
        for command in " && ".join(stage.texts("RUN")).split(" && "):
            if command.startswith("pip install") and not command.endswith(f" {TORCH}"):
                assert "--no-deps --only-binary :all: --require-hashes -r requirements/" in command


def test_an_accelerator_brings_pytorch_and_none_does_not() -> None:
    for accelerator, wanted in (("none", False), ("cpu", True), ("cuda", True)):
        image = stages(DOCKERFILE, {"ACCELERATOR": accelerator})["lipsync-api"]
        assert (TORCH in " ".join(image.texts("RUN"))) is wanted


def test_everything_that_a_stage_copies_reaches_the_builder_and_secrets_do_not() -> None:
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in let_in
    tops = {line[1:].split("/")[0] for line in let_in if line.startswith("!")}
    assert tops == set.union(*IMAGES.values()) | {"requirements"}


def test_images_and_compose_name_settings_that_exist(compose: dict[str, Any]) -> None:
    names = {name for image in IMAGES for name in STAGES[image].environment()}
    for service in compose["services"].values():
        names |= set(service.get("environment", {}))
        names |= {secret["target"].upper() for secret in service["secrets"]}
    ours = {name for name in names if not name.startswith(("PYTHON", "PIP_"))}
    assert ours
    assert {name for name in ours if not is_setting(name)} == set()


def test_compose_builds_stages_and_keeps_what_they_write(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        stage = STAGES[service["build"]["target"]]
        places = {volume.partition(":")[2] for volume in service["volumes"]}
        assert [json.dumps(sorted(places))] == stage.texts("VOLUME"), name
        named = {volume.partition(":")[0] for volume in service["volumes"]}
        assert named <= set(compose["volumes"])
        assert {secret["source"] for secret in service["secrets"]} <= set(compose["secrets"])


def test_only_this_machine_reaches_what_compose_publishes(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"]
        for name, service in compose["services"].items()
        if "ports" in service
    }
    assert published == {
        "frontend": ["127.0.0.1:5000:5000"],
        "backend": ["127.0.0.1:8000:8000"],
    }


def test_a_graphics_card_is_reserved_where_its_profile_is_chosen(compose: dict[str, Any]) -> None:
    asked = {
        name: service["profiles"]
        for name, service in compose["services"].items()
        if "deploy" in service
    }
    assert asked == {"gpu_service_cuda": ["cuda"]}
    cuda = compose["services"]["gpu_service_cuda"]
    assert cuda["build"]["args"] == {"ACCELERATOR": "cuda"}
    address = compose["services"]["backend"]["environment"]["BACKEND_GPU_URL"]
    for profile, service in (("", "gpu_service"), ("cuda", "gpu_service_cuda")):
        joint = address.replace("${COMPOSE_PROFILES:+_}", "_" * bool(profile))
        assert joint.replace("${COMPOSE_PROFILES:-}", profile) == f"http://{service}:9000"


def test_the_readmes_lines_make_the_secrets_that_compose_reads(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    blocks = re.findall(
        r"^```console\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
    )
    (block,) = [each for each in blocks if "docker compose up" in each]
    making = "".join(line for line in block.splitlines(True) if not line.startswith("docker "))
    # However private a person keeps new files: services read these as another user.
    subprocess.run(["/bin/sh", "-euc", f"umask 077; {making}"], cwd=tmp_path, check=True)
    files = [tmp_path / secret["file"] for secret in compose["secrets"].values()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}
    assert {stat.S_IMODE(file.parent.stat().st_mode) for file in files} == {0o700}
    tokens = {
        (tmp_path / secret["file"]).read_text(encoding="ascii")
        for secret in compose["secrets"].values()
    }
    assert len(tokens) == len(compose["secrets"])
    assert all(re.fullmatch(r"[0-9a-f]{48}", token) for token in tokens)


def test_the_readmes_docker_lines_are_those_that_the_dockerfile_is_for() -> None:
    lines = commands(ROOT / "README.md", "docker")
    assert ["docker", "build", "-t", "lipsync-api", "."] in lines
    assert ["docker", "run", "-p", "8000:8000", "lipsync-api"] in lines
    assert ["docker", "compose", "up", "--build"] in lines
