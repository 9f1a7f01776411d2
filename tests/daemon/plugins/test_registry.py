"""What becomes of a plugin's record and of the snapshot, whatever is found."""

from __future__ import annotations

from typing import Any

import pytest

from glmd.daemon.plugins.messages import Checked, SamplerReport
from glmd.daemon.plugins.registry import Registry
from glmd.daemon.plugins.version import Version
from glmd.discovery import Origin, Source
from glmd.errors import Code, EngineFailed


class Known(Registry):
    """`retired`: in order."""

    def __init__(self) -> None:
        self.retired: list[Version] = []
        super().__init__(self.retired.append)

    def take(self, *sources: Source, error: str = "") -> list[str]:
        """Find these and look over what has to be; the names of those that had to be."""
        records = self.found(list(sources))
        for record in records:
            samplers = [SamplerReport(record.source.name, {"type": "object"})]
            version = self.checked(record, Checked(error, samplers=samplers))
            if version is not None:
                self.serve(record, version)
        return [record.source.name for record in records]

    def of(self, name: str) -> dict[str, Any]:
        record = self.record(name)
        assert record is not None
        info = record.info()
        return {"state": info.state, "sha256": info.sha256, "error": info.error}


def source(name: str, sha256: str = "1", problem: str = "", origin: Origin = "file") -> Source:
    return Source(name=name, origin=origin, sha256=sha256, problem=problem)


def test_what_is_the_same_is_not_looked_over_again() -> None:
    known = Known()
    assert known.take(source("a"), source("b")) == ["a", "b"]
    assert known.take(source("a"), source("b", "2")) == ["b"]
    assert [version.name for version in known.retired] == ["b"]
    assert list(known.snapshot) == ["a", "b"]


def test_what_failed_is_not_tried_again_until_it_changes() -> None:
    known = Known()
    assert known.take(source("a"), error="No.") == ["a"]
    assert known.take(source("a")) == []
    assert known.of("a") == {"state": "failed", "sha256": "1", "error": "No."}
    assert known.take(source("a", "2")) == ["a"]
    assert known.of("a") == {"state": "loaded", "sha256": "2", "error": ""}


def test_a_newer_one_that_fails_is_told_and_forgotten_when_the_old_one_is_back() -> None:
    known = Known()
    known.take(source("a"))
    known.take(source("a", "2"), error="No.")
    told = known.of("a")
    assert (told["state"], told["sha256"]) == ("loaded", "1")
    assert told["error"] == "The newer version is not used: No. The one before it goes on."
    assert known.take(source("a", "1")) == []
    assert known.of("a") == {"state": "loaded", "sha256": "1", "error": ""}
    assert known.retired == []


def test_what_is_blocked_or_gone_serves_no_more() -> None:
    known = Known()
    known.take(source("a"), source("b"))
    held = known.snapshot
    known.take(source("a", problem="It is disabled."))
    assert known.of("a")["state"] == "blocked"
    assert known.record("b") is None
    assert dict(known.snapshot) == {}
    assert [version.name for version in known.retired] == ["a", "b"]
    assert list(held) == ["a", "b"]  # who holds a snapshot keeps it


def test_a_quarantined_one_is_refused_until_it_is_another() -> None:
    known = Known()
    known.take(source("a"))
    known.quarantine(known.snapshot["a"].version, "It crashed.")
    assert known.of("a")["state"] == "quarantined"
    with pytest.raises(EngineFailed, match=r"'a' is quarantined\. It crashed\.") as caught:
        known.snapshot["a"].check({})
    assert (caught.value.code, caught.value.plugin) == (Code.PLUGIN_ERROR, "a")
    assert known.take(source("a")) == []
    assert known.take(source("a", "2")) == ["a"]
    known.snapshot["a"].check({})


def test_one_that_is_to_be_looked_over_again_serves_until_then() -> None:
    known = Known()
    known.take(source("a"))
    record = known.record("a")
    assert record is not None
    record.again = True
    assert "a" in known.snapshot
    before = known.snapshot["a"].version
    assert known.take(source("a")) == ["a"]
    assert known.snapshot["a"].version is not before
    assert known.take(source("a")) == []


@pytest.mark.parametrize("origin", ["package", "built-in"])
def test_a_package_that_was_exchanged_waits_for_a_restart(origin: Origin) -> None:
    known = Known()
    known.take(source("a", origin=origin))
    assert known.take(source("a", "2", origin=origin)) == []
    told = known.of("a")
    assert (told["state"], told["sha256"]) == ("loaded", "1")
    assert "`glmd restart` loads it" in told["error"]


def test_the_first_to_name_a_sampler_has_it() -> None:
    known = Known()
    known.take(source("a"))
    (record,) = known.found([source("a"), source("b")])
    report = Checked(samplers=[SamplerReport("a", {"type": "object"})])
    assert known.checked(record, report) is None
    assert known.of("b")["error"] == "The sampler name 'a' belongs to a."
    (again,) = known.found([source("a"), source("b", "2")])
    taken = Checked(samplers=[SamplerReport("top_k", {"type": "object"})])
    assert known.checked(again, taken) is None
    assert "that of a built-in stage" in known.of("b")["error"]
