-- creates: index video_processing_status.idx_processing_retry
CREATE INDEX idx_processing_retry ON video_processing_status (retry_count, max_retries);
