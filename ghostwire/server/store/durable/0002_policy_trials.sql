-- How a policy version came to be, and the one that waits for its confirmation.

ALTER TABLE policies ADD COLUMN origin TEXT NOT NULL DEFAULT 'apply' CHECK (origin IN ('apply', 'rollback', 'revert'));
ALTER TABLE policies ADD COLUMN restores INTEGER;
ALTER TABLE policies ADD COLUMN forced TEXT NOT NULL DEFAULT '[]';

CREATE TABLE policy_trials (
    number INTEGER PRIMARY KEY,
    restores INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    author TEXT NOT NULL,
    bindings BLOB NOT NULL,
    version INTEGER NOT NULL
) STRICT;
