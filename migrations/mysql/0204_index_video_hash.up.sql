-- creates: index videos.idx_video_hash
-- gate: videos
ALTER TABLE videos ADD INDEX idx_video_hash (file_hash),
    ALGORITHM=INPLACE, LOCK=NONE
