ALTER TABLE video_processing_status DROP INDEX idx_processing_errors,
    ALGORITHM=INPLACE, LOCK=NONE
