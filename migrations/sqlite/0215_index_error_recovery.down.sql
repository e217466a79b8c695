DROP INDEX idx_error_recovery;
