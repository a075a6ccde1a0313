"""What 'bootserve login' got, kept for later commands in a file that only its user can read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from bootserve.errors import InvalidInput

__all__ = ["Login", "forget_login", "login_of", "save_login"]


@dataclass(frozen=True, slots=True)
class Login:
    """A user's login at the server ``url``; ``expires_at`` is seconds since the epoch.

    ``refresh_token`` is what a logout ends at the provider; empty where it gave none.
    """

    url: str
    token: str
    expires_at: float
    refresh_token: str = ""


def _file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "bootserve" / "logins.json"


def _read() -> dict[str, Login]:
    try:
        data = json.loads(_file().read_text())
        return {url: Login(**fields) for url, fields in data.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        raise InvalidInput(
            f"{_file()} cannot be read as logins", hint="Remove it, and log in again."
        ) from None


def _write(logins: dict[str, Login]) -> None:
    path = _file()
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({url: asdict(login) for url, login in logins.items()}, file)
        new.rename(path)
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from None


def save_login(login: Login) -> Path:
    """Keep ``login`` in place of an earlier one at its server; return the file it is in."""
    _write({**_read(), login.url: login})
    return _file()


def forget_login(url: str) -> Login | None:
    """Drop and return the login at ``url``, or None when there is none."""
    logins = _read()
    gone = logins.pop(url, None)
    if gone is not None:
        _write(logins)
    return gone


def login_of(url: str) -> Login | None:
    """Return the login at ``url``, expired or not."""
    return _read().get(url)
