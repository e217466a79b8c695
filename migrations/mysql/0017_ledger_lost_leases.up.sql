-- creates: table reelshift_lost_leases
CREATE TABLE reelshift_lost_leases (
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    batch_seq BIGINT NOT NULL,
    -- Who was silent for too long.
    worker_id CHAR(36) NOT NULL,
    lost_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    INDEX reelshift_lost_leases_time (lost_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
