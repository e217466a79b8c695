-- creates: index videos.idx_video_quality
-- gate: videos
ALTER TABLE videos ADD INDEX idx_video_quality (video_quality_score),
    ALGORITHM=INPLACE, LOCK=NONE
