DROP INDEX idx_video_quality;
