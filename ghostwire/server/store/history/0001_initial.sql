-- What may be lost: the coordinator's volatile facts, the newest of each kind and key, as MessagePack.

CREATE TABLE fact (
    kind TEXT NOT NULL,
    key INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
