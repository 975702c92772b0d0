"""Faces that are ready to speak, kept for the next speech: found and prepared once."""

import sys
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

import numpy as np

from gpu_service.cache import Cache
from gpu_service.engines.base import Engine

LOOK_SECONDS: Final = 0.1
"""How often a render that waits for another one's avatar looks whether it is still wanted."""
_SHARED: Final = (type(None), type, ModuleType, FunctionType, MethodType)
"""Kinds of objects that are there anyway."""
_COUNTED: Final = (np.ndarray, bytes, bytearray)


class AvatarKey(NamedTuple):
    """What an avatar is made of."""

    face_sha256: str
    engine: Engine[Any]
    """The object and not its name: one that was loaded anew may draw otherwise."""
    options: tuple[tuple[str, object], ...]
    """Those that the track or the avatar may depend on, by name."""
    num_frames: int | None = None
    """Length of the output, where the source frame that an output frame shows depends on it."""


@dataclass(frozen=True)
class Prepared:
    """A face that was found and prepared."""

    avatar: Any
    """Of the engine's own kind. Engines change nothing in it, so several renders may use it."""
    num_source_frames: int
    """How many frames of the face were looked at."""
    warnings: tuple[str, ...]
    """What hurts the picture."""


class Avatars:
    """Avatars by what they are made of, within a budget; one render makes what others wait for.

    Args:
        max_bytes: What all avatars may take together; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self._cache: Cache[tuple[AvatarKey, int | None], Prepared] = Cache(max_bytes)
        self._making: set[AvatarKey] = set()
        self._changed = threading.Condition()

    def get(
        self,
        key: AvatarKey,
        needed: int | None,
        make: Callable[[], Prepared],
        waiting: Callable[[], None],
    ) -> Prepared:
        """The avatar, made by this call unless that has been done.

        Args:
            key: What it is made of.
            needed: How many source frames can be shown at most; None where all of them are.
            make: Finds the face in that many frames, and prepares it.
            waiting: Called again and again while another thread makes it; raises to give up.
        """
        with self._changed:
            while (found := self._find(key, needed)) is None and key in self._making:
                self._changed.wait(LOOK_SECONDS)
                waiting()
            if found:
                return found
            self._making.add(key)
        try:
            self._forget_predecessors(key.engine)
            made = make()
            whole = needed is None or made.num_source_frames < needed
            size = num_bytes(made, key.engine)
            self._cache.put((key, None if whole else needed), made, size)
            return made
        finally:
            with self._changed:
                self._making.discard(key)
                self._changed.notify_all()

    def _find(self, key: AvatarKey, needed: int | None) -> Prepared | None:
        whole = self._cache.get((key, None))
        if whole and (needed is None or needed >= whole.num_source_frames):
            return whole
        # An avatar of more frames will not do: steadying looks at those after the last that counts.
        return None if needed is None else self._cache.get((key, needed))

    def _forget_predecessors(self, engine: Engine[Any]) -> None:
        """Let go of avatars of an engine that has been loaded anew, which hold its networks."""
        self._cache.drop(
            lambda each: (
                each[0].engine is not engine and each[0].engine.info.name == engine.info.name
            )
        )


def num_bytes(value: object, *apart_from: object) -> int:
    """What an object takes in memory, with all that hangs on it.

    Args:
        value: What is measured.
        apart_from: Objects that are there anyway; nothing that hangs on them counts.
    """
    seen: dict[int, object] = {}
    for other in apart_from:
        _take_stock(other, seen)
    return _take_stock(value, seen)


def _take_stock(value: object, seen: dict[int, object]) -> int:
    """Add what was not seen yet; it is held on to, so that no id is given twice meanwhile."""
    total = 0
    found: list[object] = [value]
    while found:
        each = found.pop()
        if id(each) in seen or isinstance(each, _SHARED):
            continue
        seen[id(each)] = each
        total += _own_bytes(each)
        found += _parts(each)
    return total


def _own_bytes(value: object) -> int:
    size = sys.getsizeof(value)
    if isinstance(value, np.ndarray) and (value.flags.owndata or isinstance(value.base, _COUNTED)):
        return size  # with its data; or those are another object's, which counts them
    elsewhere = getattr(value, "nbytes", 0)  # arrays of every library say it so
    return size + elsewhere if isinstance(elsewhere, int) else size


def _parts(value: object) -> Collection[object]:
    if isinstance(value, np.ndarray):
        return (value.base,)
    if isinstance(value, Mapping):
        return [*value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return value
    return [*getattr(value, "__dict__", {}).values()]
