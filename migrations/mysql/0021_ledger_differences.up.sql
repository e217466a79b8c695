-- creates: table reelshift_differences
CREATE TABLE reelshift_differences (
    -- The run of validation that found it.
    run_id CHAR(36) NOT NULL,
    table_name VARCHAR(64) NOT NULL,
    row_key VARCHAR(255) NOT NULL,
    check_name VARCHAR(32) NOT NULL,
    column_name VARCHAR(64) NOT NULL,
    expected TEXT NULL DEFAULT NULL,
    found TEXT NULL DEFAULT NULL,
    PRIMARY KEY (run_id, table_name, row_key, check_name, column_name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
