-- creates: table reelshift_duties
CREATE TABLE reelshift_duties (
    -- What one process does for the whole fleet.
    name VARCHAR(100) NOT NULL PRIMARY KEY,
    -- NULL while nobody has it.
    holder VARCHAR(255) NULL DEFAULT NULL,
    token BIGINT NULL DEFAULT NULL,
    beat_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    -- What the holder says to the others, as JSON.
    state MEDIUMTEXT NULL DEFAULT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
