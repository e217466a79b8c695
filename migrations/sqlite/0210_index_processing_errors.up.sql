-- creates: index video_processing_status.idx_processing_errors
CREATE INDEX idx_processing_errors ON video_processing_status (error_count, last_error_timestamp);
