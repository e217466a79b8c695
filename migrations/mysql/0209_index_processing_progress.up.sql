-- creates: index video_processing_status.idx_processing_progress
-- gate: video_processing_status
ALTER TABLE video_processing_status ADD INDEX idx_processing_progress (video_id, progress_percentage),
    ALGORITHM=INPLACE, LOCK=NONE
