"""What happens to bmodel files before they reach a daemon: each changes a file in its place."""

from __future__ import annotations

from pathlib import Path


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def for_another_chip(path: Path) -> None:
    data = path.read_bytes()
    assert data.count(b"BM1684X\0") == 1
    path.write_bytes(data.replace(b"BM1684X\0", b"BM1690E\0"))


def damaged_tables(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[64:4096] = bytes(b ^ 0x55 for b in data[64:4096])
    path.write_bytes(data)
