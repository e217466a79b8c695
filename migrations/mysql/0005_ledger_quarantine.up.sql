-- creates: table reelshift_quarantine
CREATE TABLE reelshift_quarantine (
    kind VARCHAR(16) NOT NULL,
    video_id {videos_id_type} NOT NULL,
    run_id CHAR(36) NOT NULL,
    batch_id CHAR(36) NOT NULL,
    error_id CHAR(36) NOT NULL,
    error_type VARCHAR(100) NOT NULL,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    -- Who has said that it stays as it is, and why.
    accepted_at TIMESTAMP(6) NULL DEFAULT NULL,
    accepted_by VARCHAR(255) NULL DEFAULT NULL,
    accepted_reason TEXT NULL DEFAULT NULL,
    PRIMARY KEY (kind, video_id),
    INDEX reelshift_quarantine_run (run_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
