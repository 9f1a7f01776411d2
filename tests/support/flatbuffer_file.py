"""FlatBuffers written byte by byte; glmd/bmodel/flatbuffer.py describes the format.

Everything is aligned to eight bytes and every number in a table has eight, which is more than the
format asks for and right for all of its types but floats.
"""

from __future__ import annotations

import struct
from typing import Union


class Fixed(bytes):
    """A struct, which lies in the table itself."""


# A number, a struct, a string, a vector of bytes, of u64, a table, a vector of tables.
Value = Union[int, Fixed, str, bytes, "list[int]", "Fields", "list[Fields]"]
Fields = dict[int, Value]


def write_flatbuffer(root: Fields) -> bytes:
    writer = _Writer()
    writer.data += bytes(8)
    writer.point(0, writer.table(root))
    return bytes(writer.data)


class _Writer:
    def __init__(self) -> None:
        self.data = bytearray()

    def point(self, place: int, target: int) -> None:
        struct.pack_into("<I", self.data, place, target - place)

    def table(self, fields: Fields) -> int:
        inline = {
            field: bytes(value)
            if isinstance(value, Fixed)
            else struct.pack("<q" if value < 0 else "<Q", value)
            if isinstance(value, int)
            else bytes(8)
            for field, value in fields.items()
        }
        places, end = {}, 8
        for field, octets in inline.items():
            places[field] = end
            end += len(octets)
        entries = [places.get(field, 0) for field in range(max(fields, default=-1) + 1)]
        vtable = self._append(
            struct.pack(f"<{2 + len(entries)}H", 4 + 2 * len(entries), end, *entries)
        )
        table = self._append(bytes(8) + b"".join(inline.values()))
        struct.pack_into("<i", self.data, table, table - vtable)
        for field, value in fields.items():
            if not isinstance(value, (int, Fixed)):
                self.point(table + places[field], self._child(value))
        return table

    def _child(self, value: Value) -> int:
        if isinstance(value, dict):
            return self.table(value)
        if isinstance(value, str):
            return self._vector(len(value.encode()), value.encode() + b"\0")
        if isinstance(value, bytes):
            return self._vector(len(value), value)
        assert isinstance(value, list)
        if value and isinstance(value[0], int):
            return self._vector(len(value), struct.pack(f"<{len(value)}Q", *value))
        vector = self._vector(len(value), bytes(4 * len(value)))
        placed: dict[int, int] = {}  # an item that the list has twice is written once
        for number, item in enumerate(value):
            assert isinstance(item, dict)
            target = placed.get(id(item)) or placed.setdefault(id(item), self.table(item))
            self.point(vector + 4 + 4 * number, target)
        return vector

    def _vector(self, length: int, octets: bytes) -> int:
        """Its length stands right before the elements, which are aligned."""
        return self._append(struct.pack("<II", 0, length) + octets) + 4

    def _append(self, octets: bytes) -> int:
        place = len(self.data)
        self.data += octets + bytes(-len(octets) % 8)
        return place
