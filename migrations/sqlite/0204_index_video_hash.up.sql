-- creates: index videos.idx_video_hash
CREATE INDEX idx_video_hash ON videos (file_hash);
