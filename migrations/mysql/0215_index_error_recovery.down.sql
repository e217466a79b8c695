ALTER TABLE processing_error_log DROP INDEX idx_error_recovery,
    ALGORITHM=INPLACE, LOCK=NONE
