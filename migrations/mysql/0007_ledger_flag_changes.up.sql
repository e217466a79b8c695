-- creates: table reelshift_flag_changes
CREATE TABLE reelshift_flag_changes (
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(64) NOT NULL,
    action VARCHAR(32) NOT NULL,
    enabled BOOLEAN NOT NULL,
    rollout_percent TINYINT UNSIGNED NOT NULL,
    -- NULL where the flag had not been stored before.
    previous_enabled BOOLEAN NULL DEFAULT NULL,
    previous_rollout_percent TINYINT UNSIGNED NULL DEFAULT NULL,
    changed_by VARCHAR(255) NOT NULL,
    changed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    INDEX reelshift_flag_changes_name (name, seq)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
