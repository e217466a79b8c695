ALTER TABLE processing_error_log DROP INDEX idx_error_correlation,
    ALGORITHM=INPLACE, LOCK=NONE
