-- creates: table reelshift_batches
CREATE TABLE reelshift_batches (
    -- The order of claims; people see `id`.
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id CHAR(36) NOT NULL,
    run_id CHAR(36) NOT NULL,
    parent_id CHAR(36) NULL DEFAULT NULL,
    -- Items that the parent set aside, not the parent itself once more.
    of_items BOOLEAN NOT NULL DEFAULT FALSE,
    state VARCHAR(16) NOT NULL DEFAULT 'pending',
    -- 0 for reruns, which go first; 1 for all others.
    priority TINYINT NOT NULL DEFAULT 1,
    run_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    attempts INT UNSIGNED NOT NULL DEFAULT 0,
    max_attempts INT UNSIGNED NOT NULL,
    after_id {videos_id_type} NULL DEFAULT NULL,
    upto_id {videos_id_type} NULL DEFAULT NULL,
    items MEDIUMTEXT NULL DEFAULT NULL,
    rows_total BIGINT UNSIGNED NOT NULL DEFAULT 0,
    bytes_total BIGINT UNSIGNED NOT NULL DEFAULT 0,
    rows_done BIGINT UNSIGNED NOT NULL DEFAULT 0,
    bytes_done BIGINT UNSIGNED NOT NULL DEFAULT 0,
    rows_quarantined BIGINT UNSIGNED NOT NULL DEFAULT 0,
    status_rows_created BIGINT UNSIGNED NOT NULL DEFAULT 0,
    -- Files whose hash is the checksum that their storage keeps.
    checksums_trusted BIGINT UNSIGNED NOT NULL DEFAULT 0,
    checkpoint TEXT NULL DEFAULT NULL,
    leased_by CHAR(36) NULL DEFAULT NULL,
    lease_token BIGINT NULL DEFAULT NULL,
    leased_at TIMESTAMP(6) NULL DEFAULT NULL,
    -- Who had it last; stays when the lease ends.
    claimed_by CHAR(36) NULL DEFAULT NULL,
    -- The first worker that gave it back since it does not find most of its files.
    root_suspected_by CHAR(36) NULL DEFAULT NULL,
    root_suspicions INT UNSIGNED NOT NULL DEFAULT 0,
    -- Leases lost with their workers, and the files that are read with nothing beside them.
    lost_leases INT UNSIGNED NOT NULL DEFAULT 0,
    alone_files INT UNSIGNED NULL DEFAULT NULL,
    traceparent VARCHAR(64) NULL DEFAULT NULL,
    last_error_id CHAR(36) NULL DEFAULT NULL,
    last_error_type VARCHAR(100) NULL DEFAULT NULL,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    finished_at TIMESTAMP(6) NULL DEFAULT NULL,
    UNIQUE INDEX reelshift_batches_id (id),
    INDEX reelshift_batches_claim (run_id, state, priority, run_at, seq),
    INDEX reelshift_batches_range (run_id, upto_id, after_id),
    INDEX reelshift_batches_parent (parent_id),
    INDEX reelshift_batches_leased_by (leased_by)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
