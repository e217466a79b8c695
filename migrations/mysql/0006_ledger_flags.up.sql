-- creates: table reelshift_flags
CREATE TABLE reelshift_flags (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    enabled BOOLEAN NOT NULL,
    -- The share of videos that an enabled flag is on for.
    rollout_percent TINYINT UNSIGNED NOT NULL DEFAULT 100,
    updated_by VARCHAR(255) NOT NULL,
    updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
