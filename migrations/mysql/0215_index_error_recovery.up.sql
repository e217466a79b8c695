-- creates: index processing_error_log.idx_error_recovery
-- gate: processing_error_log
ALTER TABLE processing_error_log ADD INDEX idx_error_recovery (recovery_strategy, recovery_attempted),
    ALGORITHM=INPLACE, LOCK=NONE
