ALTER TABLE video_processing_status DROP INDEX idx_processing_retry,
    ALGORITHM=INPLACE, LOCK=NONE
