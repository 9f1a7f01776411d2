"""The compiler's profile of a net: what is read from it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmd.compiler.estimate.profile import read_profile
from glmd.errors import CompileFailed

RULE = "--------------------------------------"


def part(cycles: int, read: int, written: int, copied: int = 0) -> str:
    return "\n".join(
        [
            RULE,
            "s: start time, b: bd_id, g: gdma_id, e: end time, t: cmd cost time, sz: memsize",
            RULE,
            "ENGINE_BD                        ENGINE_GDMA",
            "MatMul_13|MM2|s:1231|b:1|g:2|e:1246|t:16",
            "                                 MatMul_13|GDMA_TENSOR|s:18|e:30|t:13|dr:0|sz:4096",
            RULE,
            f"API_END total_cycle:{cycles}|b:1|g:3",
            f"TCYC : {cycles}",
            f"GDMA SUMMARY : |dr[0] S2L:{read}|dr[1] L2S:{written}|dr[2] S2S:{copied}|dr[3] L2L:7",
            "DDR BW USAGE : 4.90941090%",
            "#######################################\n",
        ]
    )


def test_one_part(tmp_path: Path) -> None:
    path = tmp_path / "compiler_profile_0.txt"
    path.write_text(part(2_000, 4_224, 64) + "\nflops: 4096, runtime: 0.002ms\n")
    profile = read_profile(path)
    assert profile is not None
    assert profile.seconds == pytest.approx(2e-6)
    assert profile.ddr_bytes == 4_288
    assert profile.bandwidth == pytest.approx(2.144e9)


def test_parts_add_up_and_a_copy_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "compiler_profile_0.txt"
    path.write_text(part(1_000, 100, 20, 3) + part(500, 1, 0))
    profile = read_profile(path)
    assert profile is not None
    assert profile.seconds == pytest.approx(1.5e-6)
    assert profile.ddr_bytes == 100 + 20 + 2 * 3 + 1


def test_dynamic_nets_have_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "compiler_profile_0.txt"
    path.touch()
    assert read_profile(path) is None


@pytest.mark.parametrize(
    "text", ["TCYC : many\n", "TCYC : 12\n", part(1, 2, 3).replace("S2S", "X2X")]
)
def test_what_is_no_profile(tmp_path: Path, text: str) -> None:
    path = tmp_path / "compiler_profile_0.txt"
    path.write_text(text)
    with pytest.raises(CompileFailed, match="is not a profile as TPU-MLIR"):
        read_profile(path)
    with pytest.raises(CompileFailed, match="cannot be read"):
        read_profile(tmp_path / "nothing")
