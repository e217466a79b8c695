-- creates: table reelshift_duties
CREATE TABLE reelshift_duties (
    -- What one process does for the whole fleet.
    name TEXT NOT NULL PRIMARY KEY,
    -- NULL while nobody has it.
    holder TEXT NULL,
    token INTEGER NULL,
    beat_at TEXT NOT NULL,
    -- What the holder says to the others.
    state TEXT NULL CHECK (json_valid(state))
) WITHOUT ROWID;
