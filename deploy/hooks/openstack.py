#!/usr/bin/python3
"""Take a compute host out of OpenStack's scheduling before its reboot, and put it back after.

disable  disables the host's nova-compute service, with the reboot as the reason. Then, by
         --servers: "fail" (the default) fails while servers run on it, since a reboot would end
         them; "migrate" has each live-migrated and waits until none is left; "ignore" lets them
         end. When it fails, the service is as it was before.
enable   waits until the service reports to be up and enables it, if it was this program that had
         disabled it: one that somebody else disabled stays so.

Both may be run again at any time. With BOOTSERVE_TEST=1 they look and change nothing.

In bootserve's settings:

    [[hooks]]
    name = "disable"
    when = "before"
    roles = ["compute"]
    timeout = 1800
    run = ["/usr/share/bootserve/hooks/openstack.py", "disable", "--timeout", "1750",
           "--servers", "migrate"]

    [hooks.env]
    OS_AUTH_URL = "https://keystone.example:5000/v3"
    OS_APPLICATION_CREDENTIAL_ID = "…"
    OS_APPLICATION_CREDENTIAL_SECRET_FILE = "/etc/bootserve/openstack-secret"

and the same with name = "enable", when = "after" and "enable". In place of an application
credential: OS_USERNAME, OS_PASSWORD_FILE, OS_PROJECT_NAME, and OS_USER_DOMAIN_NAME and
OS_PROJECT_DOMAIN_NAME where they are not Default. OS_REGION_NAME, OS_INTERFACE and OS_CACERT are
as for the openstack command. It needs the admin role, or a policy that allows os-services, and
with "migrate" os-migrate-server too. Compute API 2.53 (Pike) or later.

The host's name in OpenStack is bootserve's, or that of the node's label "compute-host".
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

REQUEST_SECONDS = 30
MARK = "bootserve: "


class Failure(Exception):
    """What went wrong, for whoever reads the hook's output."""


def setting(name: str, default: str | None = None) -> str:
    """Return a variable, or what the file named by NAME_FILE holds; raises Failure."""
    path = os.environ.get(f"{name}_FILE")
    try:
        value = Path(path).read_text().strip() if path else os.environ.get(name, default)
    except OSError as error:
        raise Failure(f"cannot read {path}, which {name}_FILE names: {error.strerror}") from None
    if value is None:
        raise Failure(f"{name} is not set: see --help for the variables that are needed")
    return value


class Compute:
    """The compute API, entered through Keystone."""

    def __init__(self) -> None:
        self._token = ""
        ca_file = os.environ.get("OS_CACERT") or None
        try:
            self._context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise Failure(f"cannot use {ca_file}, which OS_CACERT names: {error}") from None
        url = setting("OS_AUTH_URL").rstrip("/")
        url = url if url.endswith("/v3") else f"{url}/v3"
        document, headers = self._send("POST", f"{url}/auth/tokens", {"auth": _identity()})
        self._token = headers.get("X-Subject-Token", "")
        self._base = _endpoint(document["token"].get("catalog", []))

    def _send(self, method: str, url: str, body: Any = None) -> tuple[Any, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "OpenStack-API-Version": "compute 2.53"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["X-Auth-Token"] = self._token
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(
                request, timeout=REQUEST_SECONDS, context=self._context
            ) as answer:
                return json.loads(answer.read() or b"{}"), answer.headers
        except urllib.error.HTTPError as error:
            raise Failure(
                f"{method} {url}: status {error.code}: {_message(error.read())}"
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Failure(f"cannot reach {url}: {reason}") from None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of an answer; raises Failure."""
        return self._send(method, self._base + path, body)[0]

    def service(self, host: str) -> dict[str, Any]:
        """Return the nova-compute service of a host."""
        query = urlencode({"binary": "nova-compute", "host": host})
        found = self.call("GET", f"/os-services?{query}").get("services", [])
        if len(found) != 1:
            raise Failure(
                f"OpenStack has {len(found)} nova-compute services on {host}: give the node in"
                " bootserve the label compute-host with the host's name there"
            )
        return dict(found[0])

    def set_status(self, service: dict[str, Any], status: str, reason: str = "") -> None:
        """Enable or disable a service."""
        body = {"status": status, **({"disabled_reason": reason} if reason else {})}
        self.call("PUT", f"/os-services/{quote(str(service['id']))}", body)

    def servers(self, host: str) -> list[dict[str, Any]]:
        """Return the servers on a host, of all projects."""
        query = urlencode({"all_tenants": "1", "host": host})
        return list(self.call("GET", f"/servers/detail?{query}").get("servers", []))

    def migrate(self, server: dict[str, Any]) -> None:
        """Have a server moved to whichever host the scheduler chooses."""
        body = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
        self.call("POST", f"/servers/{quote(str(server['id']))}/action", body)


def _message(data: bytes) -> str:
    try:
        return str(next(iter(json.loads(data).values()))["message"])
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return data[:200].decode("utf-8", "replace")


def _identity() -> dict[str, Any]:
    """Return Keystone's ``auth``, without or with a project to act in."""
    if os.environ.get("OS_APPLICATION_CREDENTIAL_ID"):
        credential = {
            "id": setting("OS_APPLICATION_CREDENTIAL_ID"),
            "secret": setting("OS_APPLICATION_CREDENTIAL_SECRET"),
        }
        methods = ["application_credential"]
        return {"identity": {"methods": methods, "application_credential": credential}}
    user = {
        "name": setting("OS_USERNAME"),
        "password": setting("OS_PASSWORD"),
        "domain": {"name": setting("OS_USER_DOMAIN_NAME", "Default")},
    }
    project = {
        "name": setting("OS_PROJECT_NAME"),
        "domain": {"name": setting("OS_PROJECT_DOMAIN_NAME", "Default")},
    }
    return {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": project},
    }


def _endpoint(catalog: list[dict[str, Any]]) -> str:
    region, kind = os.environ.get("OS_REGION_NAME"), os.environ.get("OS_INTERFACE", "public")
    for service in catalog:
        for one in service.get("endpoints", []) if service.get("type") == "compute" else []:
            if one["interface"] == kind and region in (None, "", one.get("region")):
                return str(one["url"]).rstrip("/")
    raise Failure(
        f"Keystone's catalog has no {kind} compute endpoint"
        + (f" in region {region}" if region else "")
    )


def disable(compute: Compute, host: str, options: argparse.Namespace, test: bool) -> None:
    """Keep new servers off the host and see to those that run on it."""
    service = compute.service(host)
    running = compute.servers(host)
    if test:
        print(f"test: {host} is {service['status']}, with {len(running)} servers")
        return
    enabled = service["status"] == "enabled"
    if enabled:
        why = os.environ.get("BOOTSERVE_REBOOT", "") or "reboot by hand"
        compute.set_status(service, "disabled", MARK + why)
    print(f"nova-compute on {host} is disabled" + ("" if enabled else " already"))
    try:
        _clear(compute, host, options)
    except Failure:
        if enabled:
            compute.set_status(service, "enabled")
        raise


def _clear(compute: Compute, host: str, options: argparse.Namespace) -> None:
    deadline = time.monotonic() + options.timeout
    asked: set[str] = set()
    while options.servers != "ignore" and (left := compute.servers(host)):
        names = ", ".join(sorted(str(one.get("name", one["id"])) for one in left))
        if options.servers == "fail":
            raise Failure(f"servers run on {host}: {names}. Move them, or give --servers migrate")
        if time.monotonic() >= deadline:
            raise Failure(f"still on {host} after {options.timeout:g} s: {names}")
        for server in left:
            if server["id"] not in asked:
                asked.add(server["id"])
                compute.migrate(server)
        time.sleep(options.pause)
    if asked:
        print(f"{len(asked)} servers were migrated from {host}")


def enable(compute: Compute, host: str, options: argparse.Namespace, test: bool) -> None:
    """Let servers be scheduled on the host again, once its service is up."""
    deadline = time.monotonic() + options.timeout
    service = compute.service(host)
    ours = str(service.get("disabled_reason") or "").startswith(MARK)
    if test or service["status"] == "enabled" or not ours:
        whose = "" if ours or service["status"] == "enabled" else ", and not by bootserve"
        print(f"nova-compute on {host} is {service['status']}{whose}")
        return
    while service["state"] != "up":
        if time.monotonic() >= deadline:
            raise Failure(
                f"nova-compute on {host} is not up after {options.timeout:g} s; it stays disabled"
            )
        time.sleep(options.pause)
        service = compute.service(host)
    compute.set_status(service, "enabled")
    print(f"nova-compute on {host} is enabled")


def _host(given: str) -> str:
    try:
        labels = json.loads(os.environ.get("BOOTSERVE_LABELS") or "{}")
    except ValueError:
        labels = {}
    host = given or labels.get("compute-host") or os.environ.get("BOOTSERVE_NODE", "")
    if not host:
        raise Failure("which host? bootserve says it in BOOTSERVE_NODE; by hand give --host")
    return str(host)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["disable", "enable"])
    parser.add_argument("--host", default="", help="its name in OpenStack")
    parser.add_argument(
        "--servers", choices=["fail", "migrate", "ignore"], default="fail", help="(%(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=240, help="seconds, of all (%(default)s)")
    parser.add_argument("--pause", type=float, default=5, help="between looks (%(default)s s)")
    return parser.parse_args()


def main() -> int:
    """Do what the command line says; return the exit code."""
    options = parse()
    test = os.environ.get("BOOTSERVE_TEST") == "1"
    action = disable if options.action == "disable" else enable
    try:
        action(Compute(), _host(options.host), options, test)
    except Failure as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
