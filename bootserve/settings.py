"""Every setting of the server: from flags, ``BOOTSERVE_*``, a TOML file, or its default."""

from __future__ import annotations

import json
import os
import tomllib
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bootserve.core.claims import parse_rule
from bootserve.core.discovery import UnknownPolicy
from bootserve.errors import InvalidInput
from bootserve.model.hooks import Hook

__all__ = ["DEFAULT_CONFIG", "Settings", "load_settings"]

DEFAULT_CONFIG = Path("/etc/bootserve/bootserve.toml")
NBP_DIRECTORY = Path("/usr/lib/ipxe")

_PATHS = (
    "state_dir",
    "nbp_dir",
    "templates_dir",
    "quirks_file",
    "redfish_credentials",
    "redfish_ca_file",
    "admin_tls_cert",
    "admin_tls_key",
)

InterfaceName = Annotated[str, Field(min_length=1, max_length=15)]


class Settings(BaseSettings):
    """The server's settings. Each field's description is what ``config show`` prints."""

    model_config = SettingsConfigDict(
        env_prefix="BOOTSERVE_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    interface: Annotated[tuple[InterfaceName, ...], NoDecode] = Field(
        default=(), description="the provisioning interface, or several; needed to serve"
    )
    state_dir: Path = Field(
        default=Path("/var/lib/bootserve"), description="database, journal, artifacts, sockets"
    )
    address: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="advertised IPv4 address; eth2=10.0.2.1 where there are several interfaces "
        "(default: each interface's first)",
    )
    http_port: int = Field(default=8080, ge=1, le=65535, description="boot plane HTTP, TCP")
    tftp_port: int = Field(default=69, ge=1, le=65535, description="TFTP, UDP")
    admin_port: int = Field(
        default=8081, ge=0, le=65535, description="admin API, TCP; 0 turns it off"
    )
    admin_address: str = Field(
        default="127.0.0.1",
        description="IPv4 address of the admin API; one that is not loopback needs TLS",
    )
    admin_tls_cert: Path | None = Field(
        default=None, description="certificate of the admin API (PEM), with its chain"
    )
    admin_tls_key: Path | None = Field(default=None, description="the certificate's key (PEM)")
    oidc_issuer: str = Field(
        default="", description="identity provider whose users may log in (OpenID Connect), its URL"
    )
    oidc_client_id: str = Field(default="", description="what the provider calls bootserve")
    oidc_audience: str = Field(
        default="", description="whom users' tokens must be for (default: oidc_client_id)"
    )
    oidc_scope: str = Field(default="openid", description="what a login asks the provider for")
    oidc_name_claim: str = Field(default="sub", description="the claim that names a user")
    oidc_bindings: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="what users may: rules such as 'groups=netops operator rack/r12', with commas "
        "between them",
    )
    user: str = Field(
        default="",
        description="whom to become once the ports are bound, when started as root "
        "(default: the owner of the state directory; of a new one, bootserve)",
    )
    unknown: UnknownPolicy = Field(
        default=UnknownPolicy.IGNORE,
        description="machines that are no node: ignore, hold or register",
    )
    uefi_shape: Literal["pxe10", "binl"] = Field(
        default="pxe10", description="shape of the proxyDHCP offer to UEFI PXE clients"
    )
    quirks_file: Path | None = Field(
        default=None,
        description="firmware quirks of your own (TOML), which come before the shipped",
    )
    nbp_dir: Path = Field(
        default=NBP_DIRECTORY, description="where the NBPs are (Debian's package ipxe)"
    )
    nbp_bios: str = Field(default="undionly.kpxe", description="NBP for BIOS")
    nbp_x64: str = Field(default="ipxe.efi", description="NBP for UEFI x64")
    nbp_arm64: str = Field(default="ipxe-arm64.efi", description="NBP for UEFI arm64")
    templates_dir: Path | None = Field(
        default=None, description="iPXE templates here replace the shipped ones of the same name"
    )
    discovered_max: int = Field(
        default=1000, ge=1, le=1_000_000, description="discovered machines kept (policy register)"
    )
    boots_per_node: int = Field(
        default=20, ge=1, description="scripts of one MAC without a report; then it is told to wait"
    )
    nbps_per_node: int = Field(
        default=10, ge=1, description="NBPs loaded by one MAC without a script; then it has to wait"
    )
    loop_minutes: float = Field(
        default=5.0, gt=0, le=1440, description="within how many minutes those boots and NBPs are"
    )
    journal_max_mib: int = Field(
        default=1024, ge=1, le=1 << 20, description="bound of the journal, in MiB"
    )
    scrub_hours: float = Field(
        default=24.0,
        ge=0,
        description="artifacts are re-read and verified this often, restarts or not; 0 never",
    )
    audit_checkpoint_minutes: float = Field(
        default=5.0,
        gt=0,
        le=1440,
        description="minutes between signed checkpoints of the audit log",
    )
    keep_boots_days: float = Field(
        default=400.0,
        ge=0,
        description="days that boots and their audit records are kept; 0: for ever",
    )
    keep_reports_days: float = Field(
        default=90.0,
        ge=0,
        description="days that the texts of nodes' reports are kept; 0: for ever",
    )
    keep_changes_days: float = Field(
        default=0.0, ge=0, description="days that audit records of changes are kept; 0: for ever"
    )
    heartbeat_seconds: float = Field(
        default=60.0, ge=1, le=3600, description="seconds between two heartbeats of a node"
    )
    heartbeats_missed: int = Field(
        default=3, ge=1, le=1000, description="a node that misses so many heartbeats is silent"
    )
    heartbeats_per_second: float = Field(
        default=200.0,
        gt=0,
        description="of all nodes together; were there more, they would be told to send fewer",
    )
    rollout_seconds: float = Field(
        default=5.0, ge=0.05, le=600, description="rollouts are looked at this often"
    )
    known_good_tries: int = Field(
        default=3,
        ge=1,
        le=100,
        description="boots of a generation that came to nothing; then a node in a rollout gets the "
        "last one that it came up with",
    )
    known_good_per_rack: int = Field(
        default=2, ge=0, description="nodes of a rack on such a generation at once, at most"
    )
    known_good_everywhere: bool = Field(
        default=False, description="that goes for every node, in a rollout or not"
    )
    drift_diff_paths: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="changed files that nodes may be asked to send, such as /etc/ssh/*,/etc/hosts "
        "(default: none; what may hold a secret is never asked for)",
    )
    reboot_minutes: float = Field(
        default=30.0, gt=0, le=1440, description="a node that is rebooted reports up within"
    )
    agent_minutes: float = Field(
        default=10.0,
        gt=0,
        le=1440,
        description="how long a heartbeat is waited for, to ask a node's agent to reboot it",
    )
    redfish_credentials: Path | None = Field(
        default=None, description="the BMCs' user names and passwords (TOML, mode 0600)"
    )
    redfish_verify: bool = Field(
        default=True,
        description="whether the BMCs' certificates are verified, and http:// is refused",
    )
    redfish_ca_file: Path | None = Field(
        default=None, description="their authorities (PEM), in place of the system's"
    )
    redfish_graceful_minutes: float = Field(
        default=15.0,
        gt=0,
        le=1440,
        description="a restart that a BMC asked for is forced after this time without a new boot",
    )
    hooks: Annotated[tuple[Hook, ...], NoDecode] = Field(
        default=(), description="what is run around reboots: [[hooks]] tables of the TOML file"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto is text on a terminal and JSON elsewhere"
    )

    @field_validator("oidc_bindings")
    @classmethod
    def _rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for rule in value:
            try:
                parse_rule(rule)
            except InvalidInput as error:
                raise ValueError(f"{error}. {error.hint}") from None
        return value

    @field_validator("interface", "address", "drift_diff_paths", "oidc_bindings", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """Take one word, words with commas between them (the environment's way), or a list."""
        return [word.strip() for word in value.split(",") if word] if _is_text(value) else value

    @field_validator("hooks", mode="before")
    @classmethod
    def _tables(cls, value: Any) -> Any:
        """Take a list of tables, or one as JSON (the environment's way)."""
        try:
            return json.loads(value) if _is_text(value) else value
        except json.JSONDecodeError as error:
            raise ValueError(f"it is not JSON: {error}") from None

    @field_validator("interface")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if value.count(name) > 1:
                raise ValueError(f"interface {name} is given twice")
        return value

    @field_validator("address")
    @classmethod
    def _each_of_one(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        _assign(value, info.data.get("interface", ()))
        return value

    def addresses(self) -> dict[str, IPv4Address | None]:
        """Return each interface with the address to advertise there, None for its first."""
        return _assign(self.address, self.interface)

    @field_validator("admin_address")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return str(_address(value))

    @field_validator("keep_boots_days", "keep_changes_days")
    @classmethod
    def _a_day_at_least(cls, value: float) -> float:
        if 0 < value < 1:
            raise ValueError("it is kept for a day at least, or 0 for ever")
        return value

    @field_validator("nbp_bios", "nbp_x64", "nbp_arm64")
    @classmethod
    def _plain_file_name(cls, value: str) -> str:
        if "/" in value or value in ("", ".", ".."):
            raise ValueError("give a file name in nbp_dir, not a path")
        return value

    @field_validator("hooks")
    @classmethod
    def _named_once(cls, value: tuple[Hook, ...]) -> tuple[Hook, ...]:
        names = [hook.name for hook in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two hooks are called {name}")
        return value

    @field_validator(*_PATHS)
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value if value is None else value.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values as given by :func:`load_settings`, which orders the sources itself."""
        return (init_settings,)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _assign(
    addresses: tuple[str, ...], interfaces: tuple[str, ...]
) -> dict[str, IPv4Address | None]:
    """Give each interface its address; raises ValueError where that cannot be done."""
    found: dict[str, IPv4Address | None] = dict.fromkeys(interfaces)
    for text in addresses:
        name, equals, rest = text.rpartition("=")
        address = _address(rest)
        if not equals and len(interfaces) > 1:
            raise ValueError(f"say which interface has {text}, such as {interfaces[-1]}={text}")
        if not equals:
            name = interfaces[0] if interfaces else ""
        elif name not in interfaces:
            raise ValueError(f"{text}: {name} is none of the interfaces to serve on")
        if found.get(name) is not None:
            raise ValueError(f"interface {name} is given two addresses")
        if address in found.values():
            raise ValueError(f"{address} is given to two interfaces")
        found[name] = address
    return found


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise ValueError(f"{text!r} is not an IPv4 address") from None


def load_settings(
    flags: dict[str, Any] | None = None, config: Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """Return the effective settings and, for each, where its value came from.

    Flags beat the environment, which beats the TOML file, which beats the defaults. ``config`` is
    the file that was asked for and must exist; without one, the default file is read if present.
    A path that is the empty text is not set: it would be the working directory.

    Raises InvalidInput that names the setting, its source and what is wrong.
    """
    path = config or (DEFAULT_CONFIG if os.access(DEFAULT_CONFIG, os.F_OK) else None)
    layers = [
        (f"file {path}", _read_toml(path) if path else {}),
        ("environment", dict(EnvSettingsSource(Settings)())),
        ("flag", {k: v for k, v in (flags or {}).items() if v is not None}),
    ]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, "default")
    for source, layer in layers:
        unknown = sorted(layer.keys() - Settings.model_fields.keys())
        if unknown:
            raise InvalidInput(
                f"{source}: there is no setting {unknown[0]}",
                hint="'bootserve config show' lists them all.",
            )
        for name, value in layer.items():
            if name in _PATHS and value == "":
                continue
            values[name] = value
            sources[name] = f"BOOTSERVE_{name.upper()}" if source == "environment" else source
    try:
        return Settings(**values), sources
    except InvalidInput as error:  # of a hook, which checks itself
        raise InvalidInput(f"hooks ({sources['hooks']}): {error}", hint=error.hint) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        place = _place(first["loc"]) if name == "hooks" else name
        raise InvalidInput(
            f"{place} ({sources.get(name, '?')}): {first['msg'].removeprefix('Value error, ')}"
        ) from None


def _place(parts: tuple[int | str, ...]) -> str:
    """Return where in a table of tables an error is: ``hooks[2].timeout``, counted from 1."""
    words = [f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in parts]
    return "".join(words).removeprefix(".")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}") from None
