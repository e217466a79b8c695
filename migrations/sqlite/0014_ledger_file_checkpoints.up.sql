-- creates: table reelshift_file_checkpoints
CREATE TABLE reelshift_file_checkpoints (
    video_id TEXT NOT NULL PRIMARY KEY,
    -- The path that is being read.
    file_path TEXT NOT NULL,
    file_size INTEGER NOT NULL,
    bytes_done INTEGER NOT NULL,
    -- The state of the hash, with what tells the file's version; in a format of its own.
    state BLOB NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;
