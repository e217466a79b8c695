-- creates: table reelshift_workers
CREATE TABLE reelshift_workers (
    id TEXT NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'lost', 'left')),
    doing TEXT NOT NULL DEFAULT '',
    rows_done INTEGER NOT NULL DEFAULT 0,
    bytes_done INTEGER NOT NULL DEFAULT 0,
    rows_per_second REAL NOT NULL DEFAULT 0,
    bytes_per_second REAL NOT NULL DEFAULT 0,
    -- Backfill chunks that it would run at once, and seconds that the latest took.
    capacity INTEGER NOT NULL DEFAULT 0,
    chunk_seconds REAL,
    -- The newest row of reelshift_control_changes that it goes by.
    controls_seen INTEGER NOT NULL DEFAULT 0,
    -- Who told it to end its work and leave.
    drained_by TEXT,
    -- Writes of its own that the fence refused, since it started.
    writes_refused INTEGER NOT NULL DEFAULT 0,
    started_at TEXT NOT NULL,
    last_seen_at TEXT NOT NULL
);
CREATE INDEX reelshift_workers_seen ON reelshift_workers (state, last_seen_at);
