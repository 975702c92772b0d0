"""How others reach this host: through which tunnel, and guarded by what."""

import shutil
from pathlib import Path

from pyngrok.conf import DEFAULT_NGROK_CONFIG_PATH, PyngrokConfig

from contracts.doctor.findings import Finding, fault, note, well
from contracts.doctor.machine import guessable, this_python, token_line, where_set
from gpu_service.settings import Settings

_UNREACHED = "No tunnel opens, so other machines can't reach this host."
_ACCOUNT = "https://dashboard.ngrok.com"


def look_at_token(settings: Settings) -> Finding:
    """Whether whoever finds the host could use it."""
    token = settings.token.get_secret_value()
    alone = settings.loopback and not settings.tunnel
    if token and guessable(token) and not alone:
        what = f"GPU_TOKEN (from {where_set('GPU_TOKEN')}) can be guessed: it is short or uniform"
        why = "Whoever finds the host could render on it, and hear and see what others render."
        return fault("token", what, why, token_line("GPU_TOKEN"))
    if token:
        return well("token", "callers of the GPU host need GPU_TOKEN")
    if alone:
        return well("token", "none, and only programs of this machine reach the GPU host")
    return well("token", f"made at the first start, and kept in {settings.data_dir / 'token'}")


def look_at_tunnel(settings: Settings) -> list[Finding]:
    """Whether the tunnel that is asked for can be opened."""
    if settings.tunnel == "ngrok":
        return _ngrok(settings)
    if settings.tunnel == "cloudflared":
        return [_cloudflared()]
    if not settings.loopback:
        return [well("tunnel", f"none is needed: the GPU host listens on {settings.host}")]
    if settings.tunnel == "none":
        return [well("tunnel", "none, as GPU_TUNNEL says: other machines come over SSH")]
    return [
        note(
            "tunnel",
            "none: only this machine reaches its GPU host",
            "Another machine's backend needs one, or a way over SSH (--tunnel none tells it).",
            f"{this_python()} -m gpu_service serve --tunnel ngrok",
        )
    ]


def _cloudflared() -> Finding:
    program = shutil.which("cloudflared")
    if program:
        return well("tunnel", f"cloudflared: {program}")
    what = "GPU_TUNNEL=cloudflared, and there is no program cloudflared"
    line = f"GPU_TUNNEL=ngrok   # in {where_set('GPU_TUNNEL')}, or install cloudflared"
    return fault("tunnel", what, _UNREACHED, line)


def _ngrok(settings: Settings) -> list[Finding]:
    found = [each for each in (_agent(), _authtoken(settings)) if each]
    if not settings.tunnel_domain:
        what = "ngrok: GPU_TUNNEL_DOMAIN names no domain"
        why = "The address may change with each start; every account has a domain of its own."
        line = f"GPU_TUNNEL_DOMAIN=…   # in .env, from {_ACCOUNT}/domains"
        found.append(note("tunnel", what, why, line))
    return found or [well("tunnel", f"ngrok, to {settings.tunnel_domain}")]


def _agent() -> Finding | None:
    # Where pyngrok looks for it: not on the PATH, where its own script of that name would be.
    if Path(PyngrokConfig().ngrok_path).is_file():
        return None
    why = "It is downloaded at the first start; where that fails, no tunnel opens."
    line = f'{this_python()} -c "from pyngrok import ngrok; ngrok.install_ngrok()"'
    return fault("tunnel", "GPU_TUNNEL=ngrok, and ngrok's agent is not here", why, line)


def _authtoken(settings: Settings) -> Finding | None:
    if settings.ngrok_authtoken.get_secret_value():
        return None
    try:
        if "authtoken:" in Path(DEFAULT_NGROK_CONFIG_PATH).read_text(encoding="utf-8"):
            return None
    except OSError:
        pass
    what = "GPU_TUNNEL=ngrok, and no authtoken is set"
    line = f"NGROK_AUTHTOKEN=…   # in .env, from {_ACCOUNT}/get-started/your-authtoken"
    return fault("tunnel", what, _UNREACHED, line)
