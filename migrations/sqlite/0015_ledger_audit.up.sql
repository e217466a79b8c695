-- creates: table reelshift_audit
CREATE TABLE reelshift_audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What was changed: flag, control, run, schema, …
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    run_id TEXT NULL,
    -- NULL is the default, or that there was nothing.
    previous TEXT NULL,
    value TEXT NULL,
    reason TEXT NULL,
    -- who@where
    changed_by TEXT NOT NULL,
    changed_at TEXT NOT NULL
);
CREATE INDEX reelshift_audit_subject ON reelshift_audit (subject, name, seq);
CREATE INDEX reelshift_audit_run ON reelshift_audit (run_id, seq) WHERE run_id IS NOT NULL;
