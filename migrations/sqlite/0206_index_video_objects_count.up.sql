-- creates: index videos.idx_video_objects_count
CREATE INDEX idx_video_objects_count ON videos (objects_detected_count);
