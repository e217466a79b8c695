-- creates: index processing_error_log.idx_error_correlation
CREATE INDEX idx_error_correlation ON processing_error_log (correlation_id);
