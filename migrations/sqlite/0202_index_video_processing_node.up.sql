-- creates: index videos.idx_video_processing_node
CREATE INDEX idx_video_processing_node ON videos (processing_node_id);
