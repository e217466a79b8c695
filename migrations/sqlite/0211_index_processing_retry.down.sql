DROP INDEX idx_processing_retry;
