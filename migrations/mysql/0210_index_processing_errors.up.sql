-- creates: index video_processing_status.idx_processing_errors
-- gate: video_processing_status
ALTER TABLE video_processing_status ADD INDEX idx_processing_errors (error_count, last_error_timestamp),
    ALGORITHM=INPLACE, LOCK=NONE
