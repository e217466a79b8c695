-- creates: index videos.idx_video_processing_node
-- gate: videos
ALTER TABLE videos ADD INDEX idx_video_processing_node (processing_node_id),
    ALGORITHM=INPLACE, LOCK=NONE
