-- Version 1, kept in user_version. An empty line stands between two statements.

CREATE TABLE session (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,              -- the principal; nobody else sees the session
    title TEXT NOT NULL,
    created REAL NOT NULL,            -- seconds since the epoch
    updated REAL NOT NULL
);

CREATE INDEX session_by_owner ON session (owner, updated, id);

-- A tree: edit, regenerate and branch are all "another child of the same parent".
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,          -- order of arrival; a parent comes before its children
    id TEXT NOT NULL UNIQUE,
    session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    parent TEXT REFERENCES message (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'observation')),
    metadata TEXT NOT NULL,
    content TEXT NOT NULL,
    tool_call TEXT,                   -- JSON {"name", "arguments"}
    finish_reason TEXT,               -- NULL: not generated
    created REAL NOT NULL
);

CREATE INDEX message_by_session ON message (session, seq);

CREATE INDEX message_by_parent ON message (parent);

PRAGMA user_version = 1;
