-- creates: table reelshift_lost_leases
CREATE TABLE reelshift_lost_leases (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_seq INTEGER NOT NULL,
    -- Who was silent for too long.
    worker_id TEXT NOT NULL,
    lost_at TEXT NOT NULL
);
CREATE INDEX reelshift_lost_leases_time ON reelshift_lost_leases (lost_at);
