DROP INDEX idx_video_processing_node;
