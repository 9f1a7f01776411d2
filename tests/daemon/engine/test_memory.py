"""How much memory may be taken, and how it is divided."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from support.checkpoints import SIX_B

from glmd.checkpoint.config import parse_config
from glmd.daemon.engine.memory import GIB, HEADROOM, MOST_SLOTS, available_memory, plan_kv
from glmd.errors import Code, ModelError

CONFIG = parse_config(SIX_B.config(), Path("config.json"))
SLOT = 8192 * 28_672


def write_group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_dot_", ".")).write_text(f"{content}\n")


def process_in(root: Path, lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)


def test_without_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_this_machine() -> None:
    assert 0 < available_memory() <= psutil.virtual_memory().total


def test_the_tightest_group_of_version_2_counts(tmp_path: Path) -> None:
    process_in(tmp_path, "0::/a/b\n")
    top = tmp_path / "sys/fs/cgroup"
    stat = "anon 5\nfile 7000\ninactive_file 3000"
    write_group(top / "a/b", memory_dot_max="max", memory_dot_current=1, memory_dot_stat=stat)
    assert available_memory(tmp_path) > 1_000_000
    write_group(top / "a", memory_dot_max=50_000, memory_dot_current=40_000, memory_dot_stat=stat)
    assert available_memory(tmp_path) == 13_000
    write_group(top / "a/b", memory_dot_max=9_000)
    write_group(top / "a/b", memory_dot_current=8_000)
    assert available_memory(tmp_path) == 4_000


def test_a_group_that_is_full_leaves_nothing(tmp_path: Path) -> None:
    process_in(tmp_path, "0::/a\n")
    group = tmp_path / "sys/fs/cgroup/a"
    write_group(group, memory_dot_max=10, memory_dot_current=99, memory_dot_stat="anon 5")
    assert available_memory(tmp_path) == 0


def test_a_container_that_shows_its_group_as_the_root(tmp_path: Path) -> None:
    process_in(tmp_path, "0::/../../docker/0123abc\n")
    root = tmp_path / "sys/fs/cgroup"
    write_group(root, memory_dot_max=700, memory_dot_current=100, memory_dot_stat="file 9")
    assert available_memory(tmp_path) == 600


def test_groups_of_version_1(tmp_path: Path) -> None:
    process_in(tmp_path, "5:cpu,cpuacct:/x\n4:memory:/box\n1:name=systemd:/x\n")
    write_group(
        tmp_path / "sys/fs/cgroup/memory/box",
        memory_dot_limit_in_bytes=9_000,
        memory_dot_usage_in_bytes=5_000,
        memory_dot_stat="cache 10\ntotal_inactive_file 400",
    )
    assert available_memory(tmp_path) == 4_400


def test_slots_share_what_the_weights_leave() -> None:
    weights = 4 * GIB
    plan = plan_kv(CONFIG, weights, weights + HEADROOM + 20 * SLOT)
    assert (plan.slots, plan.context) == (16, 8192)


def test_there_are_never_more_slots_than_are_useful() -> None:
    assert plan_kv(CONFIG, 0, 1 << 50).slots == MOST_SLOTS


def test_one_conversation_is_enough() -> None:
    assert plan_kv(CONFIG, GIB, GIB + HEADROOM + SLOT).slots == 1


def test_a_smaller_context_gives_more_slots() -> None:
    plan = plan_kv(CONFIG, GIB, GIB + HEADROOM + 2 * SLOT, context=512)
    assert (plan.slots, plan.context) == (25, 512)


def test_what_was_asked_for_is_given_or_refused() -> None:
    free = GIB + HEADROOM + 3 * SLOT
    assert plan_kv(CONFIG, GIB, free, slots=3).slots == 3
    with pytest.raises(
        ModelError, match=r"4 conversations of 8192 tokens\), and 1\.9 GiB are"
    ) as no:
        plan_kv(CONFIG, GIB, free, slots=4)
    assert no.value.hint == (
        "Close other programs, or choose fewer --slots or a smaller --context."
    )


def test_too_little_memory_is_said_in_gibibytes() -> None:
    with pytest.raises(ModelError) as refused:
        plan_kv(CONFIG, 12 * GIB, 8 * GIB, advice="--mode int4 or ")
    assert refused.value.code is Code.OUT_OF_MEMORY
    assert refused.value.message == (
        "The model needs 12.5 GiB of memory (12.0 for its weights, 0.2 for one conversation of "
        "8192 tokens), and 8.0 GiB are free."
    )
    assert refused.value.hint == (
        "Close other programs, or choose --mode int4 or a smaller --context."
    )
