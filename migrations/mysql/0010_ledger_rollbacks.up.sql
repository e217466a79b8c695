-- creates: table reelshift_rollbacks
CREATE TABLE reelshift_rollbacks (
    -- Also the id of its archive.
    id CHAR(36) NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    -- NULL where what there was is discarded.
    directory TEXT NULL DEFAULT NULL,
    started_by VARCHAR(255) NOT NULL,
    started_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    finished_at TIMESTAMP(6) NULL DEFAULT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
