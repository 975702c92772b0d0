"""Where the next video will be made: which engine renders it, and why that one."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from contracts.errors import LipSyncError
from contracts.lipsync import EngineStatus
from frontend import words
from frontend.relay import backend

KINDS: Final = {"photo": "a photo", "video": "a video"}
"""Kinds of face, in words."""


class Outlook(NamedTuple):
    """What renders when an engine is chosen and a kind of face is given, in words."""

    chosen: str
    """`auto`, or the engine's name."""
    kind: str
    """`photo` or `video`; empty where it makes no difference."""
    ready: bool
    """Whether a video can be made so."""
    engine: str
    """The name of the engine that renders; empty where none does."""
    title: str
    sentence: str
    remedies: tuple[str, ...] = ()
    """What gets the engines ready that are not."""

    @property
    def for_later(self) -> bool:
        """Whether it is told only to those who give such a face: nobody is asked for it."""
        return self.kind == "video" and not self.ready


@dataclass(frozen=True)
class Workplace:
    """Where the next video will be made, and whether it can be."""

    engines: tuple[EngineStatus, ...] = ()
    where: str = ""
    """The machine, in words."""
    error: LipSyncError | None = None

    @property
    def engine(self) -> EngineStatus | None:
        """The engine that `auto` takes for a photo, else for a video."""
        return self._auto("photo")[0] or self._auto("video")[0]

    @property
    def accepts(self) -> str:
        """Kinds of face that can be animated here, in words."""
        kinds = {kind for engine in self.engines if _able(engine) for kind in engine.info.accepts}
        return "photo or a video" if "video" in kinds else "photo"

    @property
    def outlooks(self) -> tuple[Outlook, ...]:
        """What renders for every choice of the form."""
        if not self.engines:
            return ()
        photo, video = (self._outlook_of_auto(kind) for kind in KINDS)
        automatic: tuple[Outlook, ...] = (photo, video)
        if (photo.engine, photo.sentence) == (video.engine, video.sentence):
            automatic = (photo._replace(kind="", title="Engine"),)
        return (*automatic, *(_outlook(engine) for engine in self.engines))

    def users(self, option: str) -> tuple[str, ...]:
        """The engines that use an option which not every engine uses."""
        return tuple(each.info.name for each in self.engines if option in each.info.options)

    @property
    def checkpoints(self) -> dict[str, bool]:
        """The values of the option `checkpoint`, and whether each is installed."""
        return {
            name: name in engine.checkpoints
            for engine in self.engines
            for name in engine.info.checkpoints
        }

    def _auto(self, kind: str) -> tuple[EngineStatus | None, list[EngineStatus]]:
        """The engine that `auto` takes, and those that it would rather have taken."""
        passed_over: list[EngineStatus] = []
        for engine in self.engines:
            if not engine.auto:
                continue
            if kind in engine.info.accepts and _able(engine):
                return engine, passed_over
            passed_over.append(engine)
        return None, passed_over

    def _outlook_of_auto(self, kind: str) -> Outlook:
        engine, passed_over = self._auto(kind)
        said = [_named(engine) if engine else "none here can animate it"]
        if engine and engine.loading:
            said.append(f"{engine.info.name} is being loaded, and your video waits for it")
        lacking = [
            (each.info.name, *_why(each))
            for each in passed_over
            # One that can't be imported does not say what it accepts.
            if not each.ready and (kind in each.info.accepts or not each.info.accepts)
        ]
        said += [f"{name} is not ready: {why}" for name, why, _ in lacking]
        return Outlook(
            chosen="auto",
            kind=kind,
            ready=bool(engine),
            engine=engine.info.name if engine else "",
            title=f"Engine for {KINDS[kind]}",
            sentence=_joined(said),
            remedies=tuple(remedy for _, _, remedy in lacking if remedy),
        )


def current_workplace() -> Workplace:
    """Where the next video will be made; with the error when that can't be said."""
    try:
        engines = tuple(backend().engines())
        able = any(_able(engine) for engine in engines)
        return Workplace(engines, words.where(backend().gpu_host()) if able else "")
    except LipSyncError as error:
        return Workplace(error=error)


def _outlook(engine: EngineStatus) -> Outlook:
    """What renders when this engine is asked for by its name."""
    name, (why, remedy) = engine.info.name, _why(engine)
    kinds = " and ".join(f"{kind}s" for kind in engine.info.accepts)
    said = [f"{_named(engine)}, as chosen below"]
    if kinds and len(engine.info.accepts) < len(KINDS):
        said.append(f"It animates {kinds} only")
    if engine.loading:
        said.append("It is being loaded, and your video waits for it")
    elif not engine.ready:
        said.append(f"It is not ready: {why}")
    return Outlook(
        name, "", _able(engine), name, "Engine", _joined(said), (remedy,) if remedy else ()
    )


def _able(engine: EngineStatus) -> bool:
    """Whether a video can be made with it, at once or when it is loaded."""
    return engine.ready or engine.loading


def _named(engine: EngineStatus) -> str:
    return engine.info.name + (" (built in)" if not engine.info.needs else "")


def _why(engine: EngineStatus) -> tuple[str, str]:
    """Why an engine is not ready, and what mends it."""
    if _able(engine):
        return "", ""
    why, _, remedy = engine.reason.partition(". ")
    return why, remedy


def _joined(sentences: list[str]) -> str:
    # An engine's name stays as it is written, also at the beginning.
    return " ".join(each.strip().rstrip(".") + "." for each in sentences)
