-- creates: table reelshift_runs
CREATE TABLE reelshift_runs (
    id CHAR(36) NOT NULL PRIMARY KEY,
    kind VARCHAR(16) NOT NULL,
    -- Which videos the run is over, while it is active or paused; NULL afterwards.
    active_key CHAR(36) NULL DEFAULT NULL,
    state VARCHAR(16) NOT NULL,
    -- The state to go back to, while the run is paused.
    paused_from VARCHAR(16) NULL DEFAULT NULL,
    reason TEXT NULL DEFAULT NULL,
    -- Who paused, resumed or cancelled it last.
    decided_by VARCHAR(255) NULL DEFAULT NULL,
    decided_at TIMESTAMP(6) NULL DEFAULT NULL,
    -- Failures from before do not pause the run again.
    resumed_at TIMESTAMP(6) NULL DEFAULT NULL,
    plan MEDIUMTEXT NOT NULL,
    planned_to {videos_id_type} NULL DEFAULT NULL,
    round INT UNSIGNED NOT NULL DEFAULT 0,
    round_batches BIGINT UNSIGNED NOT NULL DEFAULT 0,
    -- Rounds since one wrote anything, rows that the last one left, and when the next is due.
    idle_rounds INT UNSIGNED NOT NULL DEFAULT 0,
    rows_waiting BIGINT UNSIGNED NOT NULL DEFAULT 0,
    sweep_at TIMESTAMP(6) NULL DEFAULT NULL,
    planner VARCHAR(255) NULL DEFAULT NULL,
    planner_token BIGINT NULL DEFAULT NULL,
    planner_seen_at TIMESTAMP(6) NULL DEFAULT NULL,
    batches_total BIGINT UNSIGNED NOT NULL DEFAULT 0,
    rows_total BIGINT UNSIGNED NOT NULL DEFAULT 0,
    bytes_total BIGINT UNSIGNED NOT NULL DEFAULT 0,
    created_by VARCHAR(255) NOT NULL,
    traceparent VARCHAR(64) NULL DEFAULT NULL,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    finished_at TIMESTAMP(6) NULL DEFAULT NULL,
    -- When a rollback took away what the run was for.
    rolled_back_at TIMESTAMP(6) NULL DEFAULT NULL,
    UNIQUE INDEX reelshift_runs_active_key (active_key),
    INDEX reelshift_runs_state (state)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
