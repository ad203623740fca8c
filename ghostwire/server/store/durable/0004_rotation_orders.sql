-- Whether an operator has asked for a new key of the node, which has not come yet.

ALTER TABLE nodes ADD COLUMN rotation_ordered INTEGER NOT NULL DEFAULT 0 CHECK (rotation_ordered IN (0, 1));
