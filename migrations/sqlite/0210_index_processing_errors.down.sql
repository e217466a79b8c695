DROP INDEX idx_processing_errors;
