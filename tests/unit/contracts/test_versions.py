"""Two sides of different versions: who understands whom, and who must update."""

import tomllib

import pytest

from contracts.errors import VersionMismatch
from contracts.versions import (
    API_VERSION,
    FIRST_VERSION,
    PROGRAM_VERSION,
    ApiVersion,
    read_version,
    require_understood,
)
from tools.environment import ROOT

WE, THEY = "the backend", "the GPU host"


@pytest.mark.parametrize("version", [API_VERSION, ApiVersion(2, 10), ApiVersion(1, 0)])
def test_a_version_is_read_as_it_is_written(version: ApiVersion) -> None:
    assert read_version(str(version)) == version


@pytest.mark.parametrize("said", [None, "", "two", "1", "1.2.3", "-1.0", "99999.0"])
def test_who_says_nothing_that_can_be_read_is_old(said: str | None) -> None:
    assert read_version(said) == FIRST_VERSION


@pytest.mark.parametrize("minor", [0, API_VERSION.minor + 5])
def test_another_minor_version_is_understood(minor: int) -> None:
    require_understood(ApiVersion(API_VERSION.major, minor), other_is=THEY, we_are=WE)


def test_the_older_of_two_is_told_to_update() -> None:
    with pytest.raises(VersionMismatch) as newer:
        require_understood(ApiVersion(API_VERSION.major + 1, 0), other_is=THEY, we_are=WE)
    assert newer.value.hint.startswith("Update the backend")
    with pytest.raises(VersionMismatch) as older:
        require_understood(ApiVersion(API_VERSION.major - 1, 9), other_is=THEY, we_are=WE)
    assert older.value.hint.startswith("Update the GPU host")


def test_the_program_says_the_version_that_its_package_has() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert package["project"]["version"] == PROGRAM_VERSION
