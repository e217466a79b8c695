-- creates: table reelshift_schema_before
CREATE TABLE reelshift_schema_before (
    kind VARCHAR(16) NOT NULL,
    -- An index with its table: videos.idx_video_hash.
    name VARCHAR(200) NOT NULL,
    definition MEDIUMTEXT NOT NULL,
    PRIMARY KEY (kind, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
