-- creates: table reelshift_flags
CREATE TABLE reelshift_flags (
    name TEXT NOT NULL PRIMARY KEY,
    enabled BOOLEAN NOT NULL CHECK (enabled IN (0, 1)),
    -- The share of videos that an enabled flag is on for.
    rollout_percent INTEGER NOT NULL DEFAULT 100 CHECK (rollout_percent BETWEEN 0 AND 100),
    updated_by TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;
