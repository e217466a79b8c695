ALTER TABLE videos DROP INDEX idx_video_objects_count,
    ALGORITHM=INPLACE, LOCK=NONE
