-- creates: table reelshift_samples
CREATE TABLE reelshift_samples (
    at TIMESTAMP(6) NOT NULL PRIMARY KEY,
    rows_per_second DOUBLE NOT NULL,
    bytes_per_second DOUBLE NOT NULL,
    chunk_seconds DOUBLE NULL DEFAULT NULL,
    -- The median of what the application does, with the fleet and while it rests.
    application_seconds DOUBLE NULL DEFAULT NULL,
    application_without_seconds DOUBLE NULL DEFAULT NULL,
    verdict VARCHAR(16) NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
