-- creates: index processing_error_log.idx_error_recovery
CREATE INDEX idx_error_recovery ON processing_error_log (recovery_strategy, recovery_attempted);
