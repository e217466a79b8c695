-- creates: table reelshift_rollbacks
CREATE TABLE reelshift_rollbacks (
    -- Also the id of its archive.
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('archiving', 'undoing', 'done', 'abandoned')),
    -- NULL where what there was is discarded.
    directory TEXT NULL,
    started_by TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT NULL
) WITHOUT ROWID;
