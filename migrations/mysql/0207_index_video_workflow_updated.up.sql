-- creates: index videos.idx_video_workflow_updated
-- gate: videos
ALTER TABLE videos ADD INDEX idx_video_workflow_updated (workflow_state, updated_at),
    ALGORITHM=INPLACE, LOCK=NONE
