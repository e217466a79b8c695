-- creates: index videos.idx_video_quality
CREATE INDEX idx_video_quality ON videos (video_quality_score);
