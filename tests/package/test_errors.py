"""Every error has the code it goes by on the wire; what a client alone raises has none."""

from __future__ import annotations

import pytest

from glmd import errors
from glmd.errors import Code, from_wire


@pytest.mark.parametrize("code", Code)
def test_a_code_comes_back_from_the_wire(code: Code) -> None:
    error = from_wire(code.value, "No.")
    assert error.code is code
    assert error.wire_code == code.value


@pytest.mark.parametrize(
    "kind",
    [
        errors.CompileFailed,
        errors.ConnectionFailed,
        errors.DaemonNotRunning,
        errors.DaemonTimeout,
        errors.StartFailed,
    ],
)
def test_what_is_never_sent_has_no_code(kind: type[errors.GlmdError]) -> None:
    assert kind("No.").code is None


def test_what_is_sent_after_all_is_a_bug() -> None:
    assert errors.ConnectionFailed("No.").wire_code == "internal"
