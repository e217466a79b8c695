-- creates: index videos.idx_video_expiry
-- gate: videos
ALTER TABLE videos ADD INDEX idx_video_expiry (expiry_date),
    ALGORITHM=INPLACE, LOCK=NONE
