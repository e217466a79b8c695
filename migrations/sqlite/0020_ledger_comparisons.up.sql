-- creates: table reelshift_comparisons
CREATE TABLE reelshift_comparisons (
    run_id TEXT NOT NULL,
    -- The batch of a validation whose rows were compared.
    batch_seq INTEGER NOT NULL,
    check_name TEXT NOT NULL,
    rows_compared INTEGER NOT NULL,
    differences INTEGER NOT NULL,
    PRIMARY KEY (run_id, batch_seq, check_name)
) WITHOUT ROWID;
