"""Pages that name things name what there is."""

from __future__ import annotations

import re

from support.documents import DOCS, ROOT, section

from glmd.daemon.engine.stages import BUILTIN
from glmd.daemon.request.sampling import _FIELDS


def test_every_promise_names_tests_that_exist() -> None:
    page = (DOCS / "promises.md").read_text()
    promises = re.split(r"^\*\*(P\d)\.", page, flags=re.M)[1:]
    assert promises[::2] == [f"P{n}" for n in range(1, 9)]
    for promise, text in zip(promises[::2], promises[1::2], strict=True):
        named = re.findall(r"^- `(tests/\S+\.py)::(test_\w+)`$", text, re.M)
        assert named, promise
        for path, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(), re.M), (
                f"{promise}: {path}::{test}"
            )


def test_the_page_on_sampling_has_every_stage() -> None:
    """Its table against the one the daemon goes by: order, names, defaults, fields."""
    table = section((DOCS / "sampling.md").read_text(), "The default chain")
    stages: dict[str, dict[str, str]] = {}
    fields: dict[str, tuple[str, str]] = {}
    for row in re.findall(r"^\| (?:\d+ )?\|(.*)\|$", table, re.M):
        name, parameter, field = (cell.strip() for cell in row.split("|")[:3])
        stage = name.strip("`") or list(stages)[-1]
        shown = re.fullmatch(r"`(\w+)`(?: \((.*)\))?", parameter)
        assert shown, row
        stages.setdefault(stage, {})[shown[1]] = shown[2]
        if field:
            fields[field.strip("`")] = (stage, shown[1])
    assert list(stages) == list(BUILTIN)
    assert fields == _FIELDS
    for stage, shown_parameters in stages.items():
        for parameter, known in BUILTIN[stage].items():
            if parameter == "min_keep":
                assert f"`{stage}`" in table[table.index("`min_keep` (0)") - 60 :]
            elif default := shown_parameters[parameter]:
                assert default == str(known.default).lower(), (stage, parameter)
        assert shown_parameters.keys() <= BUILTIN[stage].keys()
