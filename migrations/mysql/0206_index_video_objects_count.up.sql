-- creates: index videos.idx_video_objects_count
-- gate: videos
ALTER TABLE videos ADD INDEX idx_video_objects_count (objects_detected_count),
    ALGORITHM=INPLACE, LOCK=NONE
