ALTER TABLE video_processing_status DROP INDEX idx_processing_progress,
    ALGORITHM=INPLACE, LOCK=NONE
