DROP INDEX idx_video_expiry;
