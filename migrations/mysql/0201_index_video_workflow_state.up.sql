-- creates: index videos.idx_video_workflow_state
-- gate: videos
ALTER TABLE videos ADD INDEX idx_video_workflow_state (workflow_state),
    ALGORITHM=INPLACE, LOCK=NONE
