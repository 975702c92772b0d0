"""The tensors of a TorchScript archive, read without running anything of it."""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch


class _Module:
    """A module of the archive: its attributes, and none of its code."""

    attributes: Mapping[str, object] = {}

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a module of the archive sets its own state by code")
        self.attributes = state


def _tensor(
    storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)  # refuses what lies outside the storage


def _as_it_is(value: object, *_: object) -> object:
    return value


_KNOWN: Final[Mapping[tuple[str, str], object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.jit._pickle", "build_boollist"): _as_it_is,
    ("torch.jit._pickle", "build_doublelist"): _as_it_is,
    ("torch.jit._pickle", "build_intlist"): _as_it_is,
    ("torch.jit._pickle", "build_tensorlist"): _as_it_is,
    ("torch.jit._pickle", "restore_type_tag"): _as_it_is,
    ("torch", "BFloat16Storage"): torch.bfloat16,
    ("torch", "BoolStorage"): torch.bool,
    ("torch", "DoubleStorage"): torch.float64,
    ("torch", "FloatStorage"): torch.float32,
    ("torch", "HalfStorage"): torch.float16,
    ("torch", "IntStorage"): torch.int32,
    ("torch", "LongStorage"): torch.int64,
}
"""All that the archive's pickle may name; the rest would be somebody else's code."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, records: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(records("data.pkl")))
        self._records = records
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"the archive names {module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        _, dtype, key, _, _ = pid
        if key not in self._storages:
            data = bytearray(self._records(f"data/{key}"))
            self._storages[key] = (
                torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive rather than what `torch.save` writes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist()
        )


def read_torchscript(path: Path) -> dict[str, object]:
    """Every tensor of the archive's modules, named as in their state dict.

    `torch.jit.load` would run the archive's `__setstate__` methods, which can write files.

    Raises:
        pickle.UnpicklingError: The archive holds more than modules and tensors.
        zipfile.BadZipFile: It is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]

        def record(name: str) -> bytes:
            entry = archive.getinfo(f"{root}/{name}")
            if entry.compress_type != zipfile.ZIP_STORED:
                # PyTorch stores these as they are; a few compressed bytes could fill the memory.
                raise zipfile.BadZipFile(f"{name} is compressed")
            return archive.read(entry)

        return dict(_tensors(_Unpickler(record).load(), "", set()))


def _tensors(module: object, prefix: str, seen: set[int]) -> Iterator[tuple[str, torch.Tensor]]:
    if not isinstance(module, _Module) or id(module) in seen:
        return
    seen.add(id(module))  # an archive may hold a module that holds itself
    for name, value in module.attributes.items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        else:
            yield from _tensors(value, f"{prefix}{name}.", seen)
