ALTER TABLE videos
    DROP INDEX idx_video_workflow_state,
    DROP INDEX idx_video_processing_node,
    DROP INDEX idx_video_quality,
    DROP INDEX idx_video_hash,
    DROP INDEX idx_video_expiry,
    DROP INDEX idx_video_objects_count,
    DROP INDEX idx_video_workflow_updated,
    DROP INDEX idx_video_project_workflow,
    ALGORITHM=INPLACE, LOCK=NONE
