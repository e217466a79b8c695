-- creates: table reelshift_audit
CREATE TABLE reelshift_audit (
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- What was changed: flag, control, run, schema, …
    subject VARCHAR(16) NOT NULL,
    name VARCHAR(64) NOT NULL,
    action VARCHAR(32) NOT NULL,
    run_id CHAR(36) NULL DEFAULT NULL,
    -- NULL is the default, or that there was nothing.
    previous VARCHAR(255) NULL DEFAULT NULL,
    value VARCHAR(255) NULL DEFAULT NULL,
    reason TEXT NULL DEFAULT NULL,
    -- who@where
    changed_by VARCHAR(255) NOT NULL,
    changed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    INDEX reelshift_audit_subject (subject, name, seq),
    INDEX reelshift_audit_run (run_id, seq)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
