"""The protocol between frontends and the daemon: types and codec. docs/protocol.md is its text."""

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
