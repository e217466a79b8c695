-- creates: index videos.idx_video_project_workflow
ALTER TABLE videos
    ADD INDEX idx_video_workflow_state (workflow_state),
    ADD INDEX idx_video_processing_node (processing_node_id),
    ADD INDEX idx_video_quality (video_quality_score),
    ADD INDEX idx_video_hash (file_hash),
    ADD INDEX idx_video_expiry (expiry_date),
    ADD INDEX idx_video_objects_count (objects_detected_count),
    ADD INDEX idx_video_workflow_updated (workflow_state, updated_at),
    ADD INDEX idx_video_project_workflow (project_id, workflow_state),
    ALGORITHM=INPLACE, LOCK=NONE
