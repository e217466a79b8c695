-- creates: table reelshift_flag_changes
CREATE TABLE reelshift_flag_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    rollout_percent INTEGER NOT NULL,
    -- NULL where the flag had not been stored before.
    previous_enabled BOOLEAN NULL,
    previous_rollout_percent INTEGER NULL,
    changed_by TEXT NOT NULL,
    changed_at TEXT NOT NULL
);
CREATE INDEX reelshift_flag_changes_name ON reelshift_flag_changes (name, seq);
