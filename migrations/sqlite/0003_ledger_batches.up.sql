-- creates: table reelshift_batches
CREATE TABLE reelshift_batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    parent_id TEXT NULL,
    -- Items that the parent set aside, not the parent itself once more.
    of_items INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (
        state IN ('pending', 'leased', 'done', 'failed', 'cancelled')
    ),
    -- 0 is claimed before 1.
    priority INTEGER NOT NULL DEFAULT 1 CHECK (priority IN (0, 1)),
    run_at TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    -- A range (after_id, upto_id], or a JSON array of ids.
    after_id TEXT NULL,
    upto_id TEXT NULL,
    items TEXT NULL CHECK (json_valid(items)),
    rows_total INTEGER NOT NULL DEFAULT 0,
    bytes_total INTEGER NOT NULL DEFAULT 0,
    rows_done INTEGER NOT NULL DEFAULT 0,
    bytes_done INTEGER NOT NULL DEFAULT 0,
    rows_quarantined INTEGER NOT NULL DEFAULT 0,
    status_rows_created INTEGER NOT NULL DEFAULT 0,
    -- Files whose hash is the checksum that their storage keeps.
    checksums_trusted INTEGER NOT NULL DEFAULT 0,
    checkpoint TEXT NULL,
    leased_by TEXT NULL,
    lease_token INTEGER NULL,
    leased_at TEXT NULL,
    -- Who had it last; stays when the lease ends.
    claimed_by TEXT NULL,
    -- The first worker that gave it back since it does not find most of its files.
    root_suspected_by TEXT NULL,
    root_suspicions INTEGER NOT NULL DEFAULT 0,
    -- Leases lost with their workers, and the files that are read with nothing beside them.
    lost_leases INTEGER NOT NULL DEFAULT 0,
    alone_files INTEGER NULL,
    traceparent TEXT NULL,
    last_error_id TEXT NULL,
    last_error_type TEXT NULL,
    created_at TEXT NOT NULL,
    finished_at TEXT NULL,
    CHECK ((upto_id IS NULL) <> (items IS NULL))
);
CREATE INDEX reelshift_batches_claim ON reelshift_batches (run_id, state, priority, run_at, seq);
CREATE INDEX reelshift_batches_range ON reelshift_batches (run_id, upto_id, after_id);
CREATE INDEX reelshift_batches_parent ON reelshift_batches (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX reelshift_batches_leased_by ON reelshift_batches (leased_by) WHERE leased_by IS NOT NULL;
