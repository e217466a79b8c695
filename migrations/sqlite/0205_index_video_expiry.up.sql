-- creates: index videos.idx_video_expiry
CREATE INDEX idx_video_expiry ON videos (expiry_date);
