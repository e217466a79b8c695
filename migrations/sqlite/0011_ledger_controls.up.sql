-- creates: table reelshift_controls
CREATE TABLE reelshift_controls (
    -- A setting, or 'pause'. What has no row is at its default.
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    reason TEXT NULL,
    changed_by TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    -- From then on it is as if there were no row.
    ends_at TEXT NULL
) WITHOUT ROWID;
