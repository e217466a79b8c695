ALTER TABLE videos DROP INDEX idx_video_processing_node,
    ALGORITHM=INPLACE, LOCK=NONE
