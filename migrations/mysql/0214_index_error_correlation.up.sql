-- creates: index processing_error_log.idx_error_correlation
-- gate: processing_error_log
ALTER TABLE processing_error_log ADD INDEX idx_error_correlation (correlation_id),
    ALGORITHM=INPLACE, LOCK=NONE
