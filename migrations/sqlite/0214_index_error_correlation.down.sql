DROP INDEX idx_error_correlation;
