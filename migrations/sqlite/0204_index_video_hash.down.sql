DROP INDEX idx_video_hash;
