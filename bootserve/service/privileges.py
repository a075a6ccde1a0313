"""Who the server is once its ports are bound: an unprivileged user, or root without any right."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bootserve.errors import InvalidInput, Refused, Unavailable
from bootserve.servers.rights import CAP_DAC_READ_SEARCH, drop_bounding_set, drop_capabilities
from bootserve.store.files import os_errors
from bootserve.store.lock import StateLock

__all__ = ["LOCK_FILE", "Identity", "find_identity", "own_user", "prepare_state_dir", "unreadable"]

LOCK_FILE = "lock"
_OWN_USER = "bootserve"
_SPARE_IDS = range(61184, 65520)
"""Where systemd takes the numbers from that its services get for themselves (DynamicUser)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user: its name, user id, group id and further groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @contextlib.contextmanager
    def assumed(self) -> Iterator[None]:
        """Let the block open and make files as this user, with its rights alone; raises Refused."""
        if os.geteuid() != 0 or self.uid == 0:
            yield
            return
        groups = os.getgroups()
        with self._becoming():
            os.setgroups(self.groups)
            os.setegid(self.gid)
            os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    def become(self) -> None:
        """Be this user from now on, without any capability, and without a way back.

        To be called before the first thread is started. Raises Refused, also when the user may not
        read this program. Root may: where the program is in another's private folder, such as a
        checkout in a home directory, it keeps the right to read, and that alone.
        """
        keep = 0
        if os.geteuid() == 0 and (hidden := unreadable(self)):
            if self.uid != 0:
                raise Refused(
                    f"user {self.name} may not read {hidden}, where bootserve is installed",
                    hint="Install it where every user can read it, such as /opt/bootserve.",
                )
            keep = 1 << CAP_DAC_READ_SEARCH
        drop_bounding_set(keep)
        if os.geteuid() == 0 and self.uid != 0:
            with self._becoming():
                os.setgroups(self.groups)
                os.setresgid(self.gid, self.gid, self.gid)
                os.setresuid(self.uid, self.uid, self.uid)
        drop_capabilities(keep)

    @contextlib.contextmanager
    def _becoming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Refused(
                f"this process may not become user {self.name}: {error.strerror}",
                hint="It needs CAP_SETUID and CAP_SETGID, or start it as that user.",
            ) from None


def unreadable(identity: Identity) -> Path | None:
    """Return the folder that keeps ``identity`` from this program and its Python, if one does."""
    for path in (Path(__file__).resolve().parent, Path(sys.executable).parent):
        if closed := _closed(path, identity):
            return closed
    return None


def _closed(path: Path, identity: Identity) -> Path | None:
    """Return the first folder, of ``path`` and those it is in, that ``identity`` may not enter.

    Those that are not there yet are left out.
    """
    for folder in (*reversed(path.parents), path):
        try:
            status = folder.stat()
        except FileNotFoundError:
            return None
        shift = 0
        if status.st_uid == identity.uid:
            shift = 6
        elif status.st_gid in (identity.gid, *identity.groups):
            shift = 3
        if not status.st_mode >> shift & 1:
            return folder
    return None


def find_identity(user: str, state_dir: Path) -> Identity:
    """Return who to be: ``user``; without one, when root, the owner of ``state_dir``.

    A state directory that is not there yet will be that of user bootserve, or where there is none,
    of a number that is nobody else's; root's where such a user may not enter the program's folder
    or the state's. Who is not root stays who it is. Raises InvalidInput for a user that does not
    exist, Refused for one that we may not become.
    """
    uid = os.geteuid()
    if not user:
        if uid != 0:
            return _self()
        try:
            return _known(state_dir.stat().st_uid)
        except OSError:
            own = own_user()
            shut_out = unreadable(own) or _closed(state_dir.absolute().parent, own)
            return _known(0) if shut_out else own
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise InvalidInput(
            f"there is no user {user}", hint=f"Make it: adduser --system --group {user}."
        ) from None
    if uid not in (0, entry.pw_uid):
        raise Refused(
            f"only root can become user {user}", hint=f"Start it as root, or as {user} itself."
        )
    return _known(entry.pw_uid) if uid == 0 else _self()


def own_user() -> Identity:
    """Return the user that is bootserve's alone."""
    with contextlib.suppress(KeyError):
        return _known(pwd.getpwnam(_OWN_USER).pw_uid)
    return _known(next(uid for uid in _SPARE_IDS if not _is_taken(uid)))


def _is_taken(number: int) -> bool:
    for find in (pwd.getpwuid, grp.getgrgid):
        with contextlib.suppress(KeyError):
            find(number)
            return True
    return False


def _known(uid: int) -> Identity:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(f"uid {uid}", uid, uid)
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Identity(entry.pw_name, uid, entry.pw_gid, tuple(groups))


def _self() -> Identity:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return Identity(name, uid, os.getegid(), tuple(os.getgroups()))


def prepare_state_dir(path: Path, identity: Identity) -> None:
    """Make the state directory, owned by ``identity``, if it is not there.

    A state directory that root made in an earlier run is handed over to ``identity``, with all
    that is in it. Raises Refused for one of another owner, for one in which files of others are,
    and for a directory of root's that is no state directory; Unavailable when it cannot be made.
    """
    root = os.geteuid() == 0
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        owner = path.stat().st_uid
    except OSError as error:
        raise Unavailable(
            f"the state directory {path} cannot be made: {error.strerror}",
            hint="Pass --state-dir with a directory that this user may write to.",
        ) from None
    if root and owner != identity.uid:
        _hand_over(path, owner, identity)
    elif root:
        _refuse_strangers(path, identity)


def _hand_over(path: Path, owner: int, identity: Identity) -> None:
    hint = f"If it is bootserve's: chown -R {identity.uid}:{identity.gid} {path}"
    if owner != 0:
        raise Refused(
            f"the state directory {path} belongs to uid {owner}, not to {identity.name}", hint=hint
        )
    with os_errors(f"handing {path} over to {identity.name}"):
        if os.listdir(path) and not (path / LOCK_FILE).is_file():
            raise Refused(f"{path} belongs to root and is no state directory", hint=hint)
        with StateLock(path / LOCK_FILE):
            for _, folders, files, fd in os.fwalk(path, topdown=False):
                for name in (*folders, *files):
                    os.chown(name, identity.uid, identity.gid, dir_fd=fd, follow_symlinks=False)
            os.chown(path, identity.uid, identity.gid)


def _refuse_strangers(path: Path, identity: Identity) -> None:
    """Raise Refused for what ``identity`` could not use: it would fail later, and be harder to see.

    Nothing is changed here: in a directory that is another's, root must not trust a name.
    """
    with os_errors(f"looking through {path}"):
        for folder, folders, files, fd in os.fwalk(path):
            for name in (*folders, *files):
                found = os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid
                if found != identity.uid:
                    raise Refused(
                        f"{folder}/{name} belongs to uid {found}, not to {identity.name}",
                        hint=f"chown -R {identity.uid}:{identity.gid} {path}",
                    )
