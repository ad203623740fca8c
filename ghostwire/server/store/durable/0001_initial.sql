-- What a coordinator's answers rest on. Times are UTC nanoseconds, 0 for never; tuples of text are JSON arrays.
-- `version` counts a row's changes: a decision names the version that it has read.

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    created_at INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX users_name ON users (name);

CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    id INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 4194303),
    name TEXT NOT NULL,
    node_key BLOB NOT NULL CHECK (length(node_key) = 32),
    machine_key BLOB NOT NULL CHECK (length(machine_key) = 32),
    ipv4 TEXT NOT NULL,
    ipv6 TEXT NOT NULL,
    user_id INTEGER,
    tags TEXT NOT NULL,
    ephemeral INTEGER NOT NULL,
    node_type TEXT NOT NULL CHECK (node_type IN ('node', 'coordinator', 'relay', 'exit')),
    region TEXT NOT NULL,
    country TEXT NOT NULL,
    os TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    routable_routes TEXT NOT NULL,
    approved_routes TEXT NOT NULL,
    home_relay TEXT NOT NULL,
    metadata BLOB NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'maintenance', 'offline')),
    created_at INTEGER NOT NULL,
    key_expiry INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    preauth_id INTEGER,
    version INTEGER NOT NULL,
    CHECK (user_id IS NULL OR tags = '[]')
) STRICT;
CREATE UNIQUE INDEX nodes_node_key ON nodes (node_key);
CREATE UNIQUE INDEX nodes_name ON nodes (name);
CREATE UNIQUE INDEX nodes_ipv4 ON nodes (ipv4);
CREATE UNIQUE INDEX nodes_ipv6 ON nodes (ipv6);
CREATE UNIQUE INDEX nodes_slot ON nodes (slot);

CREATE TABLE preauth_keys (
    id INTEGER PRIMARY KEY,
    mac BLOB NOT NULL CHECK (length(mac) = 32),
    user_id INTEGER,
    tags TEXT NOT NULL,
    uses_left INTEGER CHECK (uses_left >= 0),
    ephemeral INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX preauth_keys_mac ON preauth_keys (mac);

CREATE TABLE session_tokens (
    node_id INTEGER PRIMARY KEY,
    mac BLOB NOT NULL CHECK (length(mac) = 32),
    expires_at INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX session_tokens_mac ON session_tokens (mac);

CREATE TABLE api_tokens (
    id INTEGER PRIMARY KEY,
    mac BLOB NOT NULL CHECK (length(mac) = 32),
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX api_tokens_mac ON api_tokens (mac);

CREATE TABLE refused_keys (
    node_key BLOB PRIMARY KEY CHECK (length(node_key) = 32),
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE resting_addresses (
    address TEXT PRIMARY KEY,
    until INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    number INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    author TEXT NOT NULL,
    at INTEGER NOT NULL,
    note TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT;

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
