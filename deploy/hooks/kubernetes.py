#!/usr/bin/python3
"""Take a node out of a Kubernetes cluster before its reboot, and put it back after.

drain     cordons the node, evicts its pods as "kubectl drain --ignore-daemonsets
          --delete-emptydir-data" does, and waits until they are gone. A PodDisruptionBudget that
          forbids an eviction is waited for. Pods that no controller would start again elsewhere are
          not evicted: it fails and names them, unless --force is given.
uncordon  waits until the node is ready and lets pods be scheduled on it again, if it was this
          program that had stopped that for the same reboot: a node that somebody else cordoned, or
          that another reboot has been drained for since, stays so.

Both may be run again at any time. With BOOTSERVE_TEST=1 they look and change nothing.

In bootserve's settings:

    [[hooks]]
    name = "drain"
    when = "before"
    roles = ["k8s-node"]
    timeout = 900
    run = ["/usr/share/bootserve/hooks/kubernetes.py", "drain", "--timeout", "850",
           "--server", "https://10.0.0.10:6443", "--ca-file", "/etc/bootserve/k8s-ca.pem",
           "--token-file", "/etc/bootserve/k8s-token"]

and the same with name = "uncordon", when = "after" and "uncordon". The token is that of a service
account which may: get and patch nodes; get and list pods; create pods/eviction. Give it one:

    kubectl create serviceaccount bootserve -n kube-system
    kubectl create clusterrole bootserve-drain --verb=get,patch --resource=nodes
    kubectl create clusterrole bootserve-pods --verb=get,list --resource=pods
    kubectl create clusterrole bootserve-evict --verb=create --resource=pods/eviction
    (bind each: kubectl create clusterrolebinding NAME --clusterrole=NAME
     --serviceaccount=kube-system:bootserve)
    kubectl create token bootserve -n kube-system --duration=8760h

The node's name in the cluster is bootserve's, or that of its label "k8s-node".
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

OURS = "bootserve/cordoned-for"
REQUEST_SECONDS = 30


class Failure(Exception):
    """What went wrong, for whoever reads the hook's output."""


class Refusal(Failure):
    """An answer of the API that is an error."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"the API server answers with status {status}: {words}")
        self.status = status
        self.words = words


class Cluster:
    """The API server."""

    def __init__(self, server: str, token_file: Path, ca_file: Path | None) -> None:
        self._server = server.rstrip("/")
        try:
            self._token = token_file.read_text().strip()
            self._context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise Failure(f"cannot use {error.filename or ca_file}: {error}") from None

    def call(self, method: str, path: str, body: Any = None, kind: str = "json") -> Any:
        """Return the JSON of an answer; raises Refusal or Failure."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = f"application/{kind}"
        request = urllib.request.Request(self._server + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(
                request, timeout=REQUEST_SECONDS, context=self._context
            ) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise Refusal(error.code, _message(error.read())) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Failure(f"cannot reach {self._server}: {reason}") from None

    def node(self, name: str) -> dict[str, Any]:
        """Return a node."""
        try:
            found: dict[str, Any] = self.call("GET", f"/api/v1/nodes/{quote(name)}")
        except Refusal as error:
            if error.status != 404:
                raise
            raise Failure(
                f"the cluster has no node {name}: give the node in bootserve the label"
                " k8s-node with its name there"
            ) from None
        return found

    def change(self, name: str, unschedulable: bool | None, mark: str | None) -> None:
        """Cordon or uncordon a node."""
        body = {
            "metadata": {"annotations": {OURS: mark}},
            "spec": {"unschedulable": unschedulable},
        }
        self.call("PATCH", f"/api/v1/nodes/{quote(name)}", body, "merge-patch+json")

    def pods(self, node: str) -> list[dict[str, Any]]:
        """Return the pods on a node."""
        found: list[dict[str, Any]] = []
        query = {"fieldSelector": f"spec.nodeName={node}", "limit": "500"}
        while True:
            page = self.call("GET", f"/api/v1/pods?{urlencode(query)}")
            found += page.get("items", [])
            query["continue"] = page.get("metadata", {}).get("continue", "")
            if not query["continue"]:
                return found

    def evict(self, pod: dict[str, Any]) -> str:
        """Ask for a pod's eviction; return why it has to wait, or nothing."""
        meta = pod["metadata"]
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            "deleteOptions": {"preconditions": {"uid": meta["uid"]}},
        }
        try:
            self.call("POST", f"{_path(pod)}/eviction", body)
        except Refusal as error:
            if error.status == 429:
                return error.words
            if error.status not in (404, 409):  # gone, or another pod of its name is there
                raise
        return ""

    def gone(self, pod: dict[str, Any]) -> bool:
        """Whether a pod is no more."""
        try:
            found = self.call("GET", _path(pod))
        except Refusal as error:
            if error.status == 404:
                return True
            raise
        return bool(found["metadata"]["uid"] != pod["metadata"]["uid"])


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data[:200].decode("utf-8", "replace")


def _path(pod: dict[str, Any]) -> str:
    meta = pod["metadata"]
    return f"/api/v1/namespaces/{quote(meta['namespace'])}/pods/{quote(meta['name'])}"


def _title(pod: dict[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _controller(pod: dict[str, Any]) -> str:
    owners = pod["metadata"].get("ownerReferences", [])
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")


def _stays(pod: dict[str, Any]) -> bool:
    """Whether a pod is none that a drain evicts: a static one, a DaemonSet's, or one that ended."""
    mirror = "kubernetes.io/config.mirror" in pod["metadata"].get("annotations", {})
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return mirror or ended or _controller(pod) == "DaemonSet"


def drain(cluster: Cluster, name: str, options: argparse.Namespace, test: bool) -> None:
    """Cordon the node and evict its pods."""
    deadline = time.monotonic() + options.timeout
    node = cluster.node(name)
    pods = [pod for pod in cluster.pods(name) if not _stays(pod)]
    alone = [_title(pod) for pod in pods if not _controller(pod)]
    if alone and not options.force:
        raise Failure(
            f"no controller would start these pods elsewhere: {', '.join(sorted(alone))}."
            " Move them, or give --force to end them"
        )
    if test:
        print(f"test: {name} would be cordoned and {len(pods)} pods evicted")
        return
    cordoned = node.get("spec", {}).get("unschedulable", False)
    mark = os.environ.get("BOOTSERVE_REBOOT", "") or "by-hand"
    if not cordoned or _mark(node) not in ("", mark):  # of two reboots, the last one ends it
        cluster.change(name, True, mark)
    print(f"{name} is cordoned" + (" already" if cordoned else ""))
    _empty(cluster, name, deadline, options)


def _empty(cluster: Cluster, name: str, deadline: float, options: argparse.Namespace) -> None:
    """Evict until nothing is left: a pod may have been bound to the node at the last moment."""
    while True:
        left = [pod for pod in cluster.pods(name) if not _stays(pod)]
        waiting = {_title(pod): cluster.evict(pod) for pod in left}
        while left and time.monotonic() < deadline and not any(waiting.values()):
            left = [pod for pod in left if not cluster.gone(pod)]
            if left:
                time.sleep(options.pause)
        if not waiting:
            print(f"{name} is drained")
            return
        if time.monotonic() >= deadline:
            told = [f"{pod} ({why})" if why else pod for pod, why in sorted(waiting.items())]
            raise Failure(f"still on {name} after {options.timeout:g} s: {', '.join(told)}")
        if any(waiting.values()):
            time.sleep(options.pause)


def uncordon(cluster: Cluster, name: str, options: argparse.Namespace, test: bool) -> None:
    """Let pods be scheduled on the node again, once it is ready."""
    deadline = time.monotonic() + options.timeout
    node = cluster.node(name)
    mark, reboot = _mark(node), os.environ.get("BOOTSERVE_REBOOT", "")
    if not mark:
        print(f"{name} was not cordoned by bootserve")
        return
    if test or mark != (reboot or mark):
        print(f"test: {name} is cordoned" if test else f"{name} is cordoned for {mark} meanwhile")
        return
    while not _ready(node):
        if time.monotonic() >= deadline:
            raise Failure(f"{name} is not ready after {options.timeout:g} s; it stays cordoned")
        time.sleep(options.pause)
        node = cluster.node(name)
    cluster.change(name, None, None)
    print(f"{name} is uncordoned")


def _mark(node: dict[str, Any]) -> str:
    """Return the reboot that bootserve cordoned the node for, or nothing."""
    return str(node["metadata"].get("annotations", {}).get(OURS, ""))


def _ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _name(given: str) -> str:
    try:
        labels = json.loads(os.environ.get("BOOTSERVE_LABELS") or "{}")
    except ValueError:
        labels = {}
    name = given or labels.get("k8s-node") or os.environ.get("BOOTSERVE_NODE", "")
    if not name:
        raise Failure("which node? bootserve says it in BOOTSERVE_NODE; by hand give --node")
    return str(name)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["drain", "uncordon"])
    parser.add_argument("--server", required=True, metavar="URL", help="the API server")
    parser.add_argument("--token-file", required=True, type=Path, help="a bearer token")
    parser.add_argument("--ca-file", type=Path, help="the cluster's authority, PEM")
    parser.add_argument("--node", default="", help="its name in the cluster")
    parser.add_argument("--force", action="store_true", help="end pods without a controller, too")
    parser.add_argument("--timeout", type=float, default=240, help="seconds, of all (%(default)s)")
    parser.add_argument("--pause", type=float, default=3, help="between tries (%(default)s s)")
    return parser.parse_args()


def main() -> int:
    """Do what the command line says; return the exit code."""
    options = parse()
    test = os.environ.get("BOOTSERVE_TEST") == "1"
    action = drain if options.action == "drain" else uncordon
    try:
        cluster = Cluster(options.server, options.token_file, options.ca_file)
        action(cluster, _name(options.node), options, test)
    except Failure as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
