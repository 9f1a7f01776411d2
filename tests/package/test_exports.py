"""What `import glmd` offers: all that programs and plugins name, and nothing before it is named."""

from __future__ import annotations

import subprocess
import sys

import pytest

import glmd


@pytest.mark.parametrize("name", glmd.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(glmd, name) is not None
    assert name in dir(glmd)


def test_what_users_need_is_there() -> None:
    from glmd import chat, errors
    from glmd.frontends import python_api

    assert glmd.Client is python_api.Client
    assert glmd.Stage is python_api.Stage
    assert glmd.Timeouts is python_api.Timeouts
    assert glmd.Message is chat.Message
    assert glmd.errors is errors
    assert not hasattr(glmd, "Clint")


def test_a_name_loads_no_more_than_its_module() -> None:
    probe = (
        "import sys, glmd; dir(glmd); glmd.hookimpl; glmd.Message\n"
        "print([name for name in ('zmq', 'glmd.frontends') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
