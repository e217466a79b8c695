-- creates: index videos.idx_video_project_workflow
-- gate: videos
ALTER TABLE videos ADD INDEX idx_video_project_workflow (project_id, workflow_state),
    ALGORITHM=INPLACE, LOCK=NONE
