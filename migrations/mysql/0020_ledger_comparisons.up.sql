-- creates: table reelshift_comparisons
CREATE TABLE reelshift_comparisons (
    run_id CHAR(36) NOT NULL,
    -- The batch of a validation whose rows were compared.
    batch_seq BIGINT NOT NULL,
    check_name VARCHAR(32) NOT NULL,
    rows_compared BIGINT UNSIGNED NOT NULL,
    differences BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (run_id, batch_seq, check_name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
