-- creates: table reelshift_controls
CREATE TABLE reelshift_controls (
    -- A setting, or 'pause'. What has no row is at its default.
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value VARCHAR(255) NOT NULL,
    reason TEXT NULL DEFAULT NULL,
    changed_by VARCHAR(255) NOT NULL,
    changed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    -- From then on it is as if there were no row.
    ends_at TIMESTAMP(6) NULL DEFAULT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
