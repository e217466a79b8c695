-- creates: table reelshift_control_changes
CREATE TABLE reelshift_control_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- As in reelshift_controls; 'run' for the state of one run.
    name TEXT NOT NULL,
    run_id TEXT NULL,
    -- NULL is the default.
    previous TEXT NULL,
    value TEXT NULL,
    reason TEXT NULL,
    changed_by TEXT NOT NULL,
    changed_at TEXT NOT NULL
);
CREATE INDEX reelshift_control_changes_name ON reelshift_control_changes (name, seq);
