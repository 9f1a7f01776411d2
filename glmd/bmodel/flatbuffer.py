"""Tables of a FlatBuffer, read by the ids of their fields, with every offset checked.

Source of the format: FlatBuffers' own description, https://flatbuffers.dev/internals. All
little-endian: a buffer begins with the u32 offset of its root table. A table begins with the i32
distance back to its vtable: u16 bytes of the vtable, u16 bytes of the table, then for each field
id the u16 place of its value in the table, 0 where the field has its default. Strings, vectors
and other tables lie elsewhere and are u32 offsets from where the offset stands; strings and vectors
begin with their u32 length.
"""

from __future__ import annotations

import struct

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_U64 = struct.Struct("<Q")


class Malformed(ValueError):
    """The buffer is none; the message ends a sentence that begins with whose it is."""


class Buffer:
    """What is read of it in all is bounded: offsets may point at one place many times, and a few
    bytes could so stand for tables without end. Reading a whole bmodel takes about twice its
    tables."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = 8 * len(data)

    def root(self) -> Table:
        return Table(self, self.follow(0))

    def follow(self, place: int) -> int:
        """The place that an offset points at."""
        return place + self.scalar(_U32, place)

    def scalar(self, form: struct.Struct, place: int) -> int:
        value: int = self.unpack(form, place)[0]
        return value

    def unpack(self, form: struct.Struct, place: int) -> tuple[int, ...]:
        self._check(place, form.size)
        return form.unpack_from(self._data, place)

    def take(self, place: int, nbytes: int) -> bytes:
        self._check(place, nbytes)
        return self._data[place : place + nbytes]

    def _check(self, place: int, nbytes: int) -> None:
        if not 0 <= place <= len(self._data) - nbytes:
            raise Malformed("an offset in it points behind its end")
        self._left -= nbytes
        if self._left < 0:
            raise Malformed("its tables repeat one another")


class Table:
    """One table; a field that it does not have gives the default, "" or nothing."""

    def __init__(self, buffer: Buffer, place: int) -> None:
        self._buffer = buffer
        self._place = place
        vtable = place - buffer.scalar(_I32, place)
        nbytes = buffer.scalar(_U16, vtable)
        if nbytes < 4 or nbytes % 2:
            raise Malformed("a table in it has no list of fields")
        self._fields = struct.unpack(f"<{nbytes // 2}H", buffer.take(vtable, nbytes))[2:]

    def u32(self, field: int) -> int:
        return self._scalar(_U32, field)

    def i32(self, field: int) -> int:
        return self._scalar(_I32, field)

    def u64(self, field: int) -> int:
        return self._scalar(_U64, field)

    def fixed(self, form: struct.Struct, field: int) -> tuple[int, ...] | None:
        """What FlatBuffers calls a struct, which has all its members."""
        place = self._find(field)
        return None if place is None else self._buffer.unpack(form, place)

    def string(self, field: int) -> str:
        try:
            return self.octets(field).decode()
        except UnicodeDecodeError:
            raise Malformed("a name in it is no text") from None

    def octets(self, field: int) -> bytes:
        """A string or a vector of bytes."""
        place, length = self._vector(field)
        return self._buffer.take(place, length)

    def table(self, field: int) -> Table | None:
        place = self._find(field)
        return None if place is None else Table(self._buffer, self._buffer.follow(place))

    def tables(self, field: int) -> list[Table]:
        place, length = self._vector(field)
        places = range(place, place + 4 * length, 4)
        return [Table(self._buffer, self._buffer.follow(place)) for place in places]

    def u64s(self, field: int, most: int) -> tuple[int, ...]:
        place, length = self._vector(field)
        if length > most:
            raise Malformed(f"a list of at most {most} in it has {length}")
        return struct.unpack(f"<{length}Q", self._buffer.take(place, 8 * length))

    def _find(self, field: int) -> int | None:
        distance = self._fields[field] if field < len(self._fields) else 0
        return self._place + distance if distance else None

    def _scalar(self, form: struct.Struct, field: int) -> int:
        place = self._find(field)
        return 0 if place is None else self._buffer.scalar(form, place)

    def _vector(self, field: int) -> tuple[int, int]:
        """Where its elements begin, and how many there are; they may be behind the end."""
        place = self._find(field)
        if place is None:
            return 0, 0
        place = self._buffer.follow(place)
        return place + 4, self._buffer.scalar(_U32, place)
