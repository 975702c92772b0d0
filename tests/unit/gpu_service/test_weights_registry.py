"""The table of published weights."""

from importlib import import_module
from types import ModuleType

import pytest

from contracts.errors import InvalidInput
from gpu_service.weights.download import direct_link
from gpu_service.weights.registry import WEIGHTS, weights_named, weights_of_file
from gpu_service.weights.store import how_to_get


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_entry_says_what_a_person_must_know(name: str) -> None:
    weights = weights_named(name)
    assert weights.name == name
    assert weights.title
    assert weights.size
    assert weights.licence
    assert weights.page.startswith("https://")
    assert weights.url == "" or direct_link(weights.url).startswith("https://")
    assert "weights add" in how_to_get(weights)
    assert ("weights fetch" in how_to_get(weights)) is bool(weights.url)


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_entry_names_a_network_that_is_there(name: str, torch: ModuleType) -> None:
    module, _, network = weights_named(name).network.partition(":")
    assert issubclass(getattr(import_module(module), network), torch.nn.Module)


def test_a_published_file_is_known_by_its_name_in_any_case() -> None:
    assert weights_of_file("WAV2LIP_gan.pth").name == "wav2lip_gan"
    assert weights_of_file("Wav2Lip-SD-NOGAN.pt").name == "wav2lip"


def test_a_name_that_tells_nothing_asks_for_one() -> None:
    with pytest.raises(InvalidInput) as refused:
        weights_of_file("checkpoint.pth")
    assert "--name" in refused.value.hint
    with pytest.raises(InvalidInput, match="dream"):
        weights_named("dream")
