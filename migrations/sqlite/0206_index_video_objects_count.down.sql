DROP INDEX idx_video_objects_count;
