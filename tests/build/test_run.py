"""How the tools of a build are run, and what is said when they fail."""

from __future__ import annotations

import errno

import pytest

from bootserve.build.run import BuildFailed, build_environment, os_failure, output_of, run
from bootserve.errors import StorageFull, Unavailable


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_lines_and_moving_bars_are_seen_one_by_one() -> None:
    seen: list[str] = []
    run(sh(r"printf 'one\n\n 1/2\r 2/2\r'; echo two >&2"), on_line=seen.append)
    assert seen == ["one", " 1/2", " 2/2", "two"]


def test_a_failure_carries_the_last_words() -> None:
    with pytest.raises(BuildFailed, match=r"sh ended with status 3:\n(.*\n)*last words"):
        run(sh("seq 1000; echo last words; exit 3"))
    with pytest.raises(BuildFailed, match="signal 9"):
        run(sh("kill -9 $$"))
    with pytest.raises(BuildFailed, match="of the error"):
        output_of(sh("echo of the output; echo of the error >&2; false"))


def test_a_full_disk_is_told_as_such() -> None:
    with pytest.raises(StorageFull, match="sh could not go on"):
        run(sh("echo 'tar: x: Cannot write: No space left on device'; false"))
    assert isinstance(os_failure(OSError(errno.ENOSPC, "full", "x")), StorageFull)
    assert isinstance(os_failure(OSError(errno.EACCES, "no", "x")), BuildFailed)


def test_a_full_disk_is_told_for_real() -> None:
    with pytest.raises(StorageFull):
        run(sh("LC_ALL=C cat /etc/passwd > /dev/full"))


def test_a_missing_tool_is_told_with_its_package() -> None:
    with pytest.raises(Unavailable, match="mksquashfs is not installed") as caught:
        run(["mksquashfs"], env={"PATH": "/nonexistent"})
    assert caught.value.hint == "Run: apt-get install squashfs-tools"


def test_an_interrupted_tool_is_ended() -> None:
    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(sh("echo start; sleep 600"), on_line=interrupt)


def test_the_environment_has_nothing_of_the_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert "http_proxy" not in build_environment()
    assert build_environment({"A": "b"})["A"] == "b"
    seen = output_of(["env"])
    assert "proxy.example" not in seen
    assert "LC_ALL=C.UTF-8" in seen
