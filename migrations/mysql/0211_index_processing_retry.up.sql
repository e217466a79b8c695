-- creates: index video_processing_status.idx_processing_retry
-- gate: video_processing_status
ALTER TABLE video_processing_status ADD INDEX idx_processing_retry (retry_count, max_retries),
    ALGORITHM=INPLACE, LOCK=NONE
