-- creates: table reelshift_file_checkpoints
CREATE TABLE reelshift_file_checkpoints (
    video_id {videos_id_type} NOT NULL PRIMARY KEY,
    -- The path that is being read.
    file_path TEXT NOT NULL,
    file_size BIGINT UNSIGNED NOT NULL,
    bytes_done BIGINT UNSIGNED NOT NULL,
    -- The state of the hash, with what tells the file's version; in a format of its own.
    state VARBINARY(2048) NOT NULL,
    updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
