-- creates: table reelshift_samples
CREATE TABLE reelshift_samples (
    at TEXT NOT NULL PRIMARY KEY,
    rows_per_second REAL NOT NULL,
    bytes_per_second REAL NOT NULL,
    chunk_seconds REAL NULL,
    -- The median of what the application does, with the fleet and while it rests.
    application_seconds REAL NULL,
    application_without_seconds REAL NULL,
    verdict TEXT NOT NULL
) WITHOUT ROWID;
