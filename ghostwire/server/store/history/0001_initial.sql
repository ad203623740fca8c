-- What may be lost: the newest of what was seen of each node, and up to where that goes.

CREATE TABLE node_seen (
    node_id INTEGER PRIMARY KEY,
    online INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    endpoints TEXT NOT NULL,
    token_expires INTEGER NOT NULL,
    metrics BLOB,
    class_id INTEGER NOT NULL,
    map_seq INTEGER NOT NULL,
    map_vseq INTEGER NOT NULL,
    vseq INTEGER NOT NULL
) STRICT;

CREATE TABLE flush_mark (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot BLOB NOT NULL CHECK (length(boot) = 16),
    vseq INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    utc INTEGER NOT NULL,
    next_class INTEGER NOT NULL
) STRICT;
