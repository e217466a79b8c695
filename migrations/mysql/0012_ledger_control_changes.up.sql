-- creates: table reelshift_control_changes
CREATE TABLE reelshift_control_changes (
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- As in reelshift_controls; 'run' for the state of one run.
    name VARCHAR(64) NOT NULL,
    run_id CHAR(36) NULL DEFAULT NULL,
    -- NULL is the default.
    previous VARCHAR(255) NULL DEFAULT NULL,
    value VARCHAR(255) NULL DEFAULT NULL,
    reason TEXT NULL DEFAULT NULL,
    changed_by VARCHAR(255) NOT NULL,
    changed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    INDEX reelshift_control_changes_name (name, seq)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
