"""Conversations, kept in SQLite as trees of messages and shared by every frontend."""
