"""What the errors of ngrok's agent mean, and what to do about them.

Source: the meaning of each code, https://ngrok.com/docs/errors/reference
"""

from typing import Final, NamedTuple


class Explained(NamedTuple):
    """One error."""

    detail: str
    """What is wrong; empty where only ngrok knows."""
    hint: str
    """What to do."""
    final: bool
    """Whether trying again is in vain before that is done."""


_AUTHTOKENS: Final = "https://dashboard.ngrok.com/get-started/your-authtoken"
_AGENTS: Final = "https://dashboard.ngrok.com/agents"
_DOMAINS: Final = "https://dashboard.ngrok.com/domains"
_SET_TOKEN: Final = f"Copy it anew from {_AUTHTOKENS} into NGROK_AUTHTOKEN."

_KNOWN: Final = {
    "ERR_NGROK_102": Explained(
        "the last payment of the ngrok account failed", "Look at the account's billing.", True
    ),
    "ERR_NGROK_103": Explained(
        "the ngrok account is suspended", "Ask ngrok why, or use another account.", True
    ),
    "ERR_NGROK_105": Explained("NGROK_AUTHTOKEN is no authtoken of ngrok", _SET_TOKEN, True),
    "ERR_NGROK_106": Explained("NGROK_AUTHTOKEN is one of ngrok's old kind", _SET_TOKEN, True),
    "ERR_NGROK_107": Explained(
        "ngrok does not accept NGROK_AUTHTOKEN: it was reset or revoked", _SET_TOKEN, True
    ),
    "ERR_NGROK_108": Explained(
        "the ngrok account runs as many agents as it may",
        f"Stop another one; {_AGENTS} lists them.",
        True,
    ),
    "ERR_NGROK_120": Explained(
        "ngrok's agent on this machine is too old", "Update it: ngrok update.", True
    ),
    "ERR_NGROK_121": Explained(
        "ngrok's agent on this machine is too old", "Update it: ngrok update.", True
    ),
    "ERR_NGROK_313": Explained(
        "the ngrok account may not choose a domain like {domain}",
        f"Use one that {_DOMAINS} lists, or leave --domain out.",
        True,
    ),
    "ERR_NGROK_319": Explained(
        "the ngrok account does not have the domain {domain}",
        f"Use one that {_DOMAINS} lists, or leave --domain out.",
        True,
    ),
    "ERR_NGROK_320": Explained(
        "the domain {domain} belongs to another ngrok account",
        "Use the authtoken of that account, or leave --domain out.",
        True,
    ),
    # ngrok takes up to a minute to notice that an agent has died, such as that of a session before.
    "ERR_NGROK_334": Explained(
        "the address is online already, from another agent",
        f"It is tried again. If that stays, stop the other agent; {_AGENTS} lists them.",
        False,
    ),
    "ERR_NGROK_354": Explained(
        "the ngrok account does not have the domain {domain}",
        f"Use one that {_DOMAINS} lists, or leave --domain out.",
        True,
    ),
    "ERR_NGROK_4018": Explained(
        "ngrok asks for an account and its authtoken",
        f"Sign up, and copy the authtoken from {_AUTHTOKENS} into NGROK_AUTHTOKEN.",
        True,
    ),
}
_UNKNOWN: Final = Explained("", "https://ngrok.com/docs/errors/reference lists the codes.", False)
_NO_CODE: Final = Explained(
    "", "Look whether this machine reaches the internet: ngrok diagnose.", False
)


def explain(code: str, domain: str) -> Explained:
    """What an error means.

    Args:
        code: Such as `ERR_NGROK_105`; empty where ngrok named none.
        domain: That was asked for.
    """
    found = _KNOWN.get(code, _UNKNOWN) if code else _NO_CODE
    return found._replace(detail=found.detail.format(domain=domain or "that it asks for"))
