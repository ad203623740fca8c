-- Requests for access that ends by itself, and the user whose rights an operator's token carries.

CREATE TABLE access_requests (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL,
    source INTEGER,
    target INTEGER NOT NULL,
    ports TEXT NOT NULL,
    duration_s INTEGER NOT NULL,
    reason TEXT NOT NULL,
    rule TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    created_at INTEGER NOT NULL,
    asked_by TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'denied', 'approved', 'revoked', 'ended')),
    decided_at INTEGER NOT NULL,
    decided_by TEXT NOT NULL,
    approver INTEGER,
    ends_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT;

ALTER TABLE api_tokens ADD COLUMN user_id INTEGER;
