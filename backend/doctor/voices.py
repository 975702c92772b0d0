"""Whether texts can be spoken."""

from typing import Final

from backend.settings import Settings
from backend.speech.gtts_voice import GttsVoices
from contracts.doctor.findings import Finding, fault, well
from contracts.doctor.machine import ask_python, this_python, where_set
from contracts.errors import SpeechFailed

ASK_SECONDS: Final = 15.0
_SPEAKS: Final = """
from backend.speech.espeak_voice import EspeakVoices
voices = EspeakVoices()
spoken = voices.speak("Hello.", next(each for each in voices.voices if each.language == "en-us"))
print(f"{spoken.seconds:.2f}" if abs(spoken.samples).max() > 0 else "silence")
"""


def look_at_offline_voice() -> Finding:
    """Have it speak, in a process apart: its library ends the process that it fails in."""
    answer = ask_python(["-W", "ignore", "-c", _SPEAKS], ASK_SECONDS)
    said = answer.out.strip()
    if answer.status == 0 and said != "silence":
        return well("voices", f"the offline voice spoke {said} s")
    words = "it had not spoken in time" if answer.status is None else said or answer.last_words
    options = "--force-reinstall --no-deps --only-binary :all: --require-hashes"
    return fault(
        "voices",
        f"the offline voice can't speak: {words}",
        "It speaks every text that Google's voice does not; the backend does not start without it.",
        f"{this_python()} -m pip install {options} -r requirements/backend.txt",
    )


def look_at_online_voice(settings: Settings) -> Finding:
    """Have Google's voice speak a word, where it is allowed."""
    if not settings.gtts:
        return well("voices", "Google's voice is switched off; no text leaves this machine")
    place = where_set("BACKEND_GTTS")
    voices = GttsVoices(settings.gtts_timeout_seconds)
    voice = next(each for each in voices.voices if each.language == "en")
    try:
        voices.speak("Hello.", voice)
    except SpeechFailed as error:
        return fault(
            "voices",
            error.detail,
            f"Each text waits for it, up to {settings.gtts_timeout_seconds:g} s a sentence, before "
            "the offline voice speaks.",
            f"BACKEND_GTTS=false   # in {place}, as long as it can't be reached from here",
        )
    return well("voices", "Google's voice answers")
