-- creates: table reelshift_workers
CREATE TABLE reelshift_workers (
    id CHAR(36) NOT NULL PRIMARY KEY,
    host VARCHAR(255) NOT NULL,
    pid INT UNSIGNED NOT NULL,
    version VARCHAR(64) NOT NULL,
    state VARCHAR(16) NOT NULL DEFAULT 'live',
    doing TEXT NULL DEFAULT NULL,
    rows_done BIGINT UNSIGNED NOT NULL DEFAULT 0,
    bytes_done BIGINT UNSIGNED NOT NULL DEFAULT 0,
    rows_per_second DOUBLE NOT NULL DEFAULT 0,
    bytes_per_second DOUBLE NOT NULL DEFAULT 0,
    -- Backfill chunks that it would run at once, and seconds that the latest took.
    capacity INT UNSIGNED NOT NULL DEFAULT 0,
    chunk_seconds DOUBLE NULL DEFAULT NULL,
    -- The newest row of reelshift_control_changes that it goes by.
    controls_seen BIGINT NOT NULL DEFAULT 0,
    -- Who told it to end its work and leave.
    drained_by VARCHAR(255) NULL DEFAULT NULL,
    -- Writes of its own that the fence refused, since it started.
    writes_refused BIGINT UNSIGNED NOT NULL DEFAULT 0,
    started_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    last_seen_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    -- The server that holds its lock for as long as it is connected.
    lock_server VARCHAR(255) NULL DEFAULT NULL,
    -- Every worker counts the live ones every second.
    INDEX reelshift_workers_state (state)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
