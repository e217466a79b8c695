DROP INDEX idx_processing_progress;
