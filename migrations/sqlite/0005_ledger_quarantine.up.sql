-- creates: table reelshift_quarantine
CREATE TABLE reelshift_quarantine (
    kind TEXT NOT NULL,
    video_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    error_id TEXT NOT NULL,
    error_type TEXT NOT NULL,
    created_at TEXT NOT NULL,
    -- Who has said that it stays as it is, and why.
    accepted_at TEXT NULL,
    accepted_by TEXT NULL,
    accepted_reason TEXT NULL,
    PRIMARY KEY (kind, video_id)
) WITHOUT ROWID;
CREATE INDEX reelshift_quarantine_run ON reelshift_quarantine (run_id);
